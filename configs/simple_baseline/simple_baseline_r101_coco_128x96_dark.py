"""SimpleBaseline with ResNet-101 and DARK on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/simple_baseline/simple_baseline_r101_coco_128x96_dark.py
AP on COCO val2017, flip test: not trained yet (published: AP 63.2 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_128x96_dark.py']

model = dict(backbone=dict(depth=101))
