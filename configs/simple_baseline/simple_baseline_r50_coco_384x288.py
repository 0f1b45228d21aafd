"""SimpleBaseline with ResNet-50 on COCO at 384x288 (Xiao et al. 2018, arXiv:1804.06208).

Run: python tools/train.py configs/simple_baseline/simple_baseline_r50_coco_384x288.py
AP on COCO val2017, flip test: not trained yet (published: AP 72.2 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(codec=dict(input_size=(288, 384), sigma_px=12.0))
