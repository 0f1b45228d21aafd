"""SimpleBaseline with ResNet-101 on COCO at 128x96 (Xiao et al. 2018, arXiv:1804.06208).

Run: python tools/train.py configs/simple_baseline/simple_baseline_r101_coco_128x96.py
AP on COCO val2017, flip test: not trained yet (published: AP 58.8 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_128x96.py']

model = dict(backbone=dict(depth=101))
