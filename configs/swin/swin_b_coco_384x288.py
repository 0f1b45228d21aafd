"""Swin-B with windows of 12 cells on COCO at 384x288 (Liu et al. 2021, arXiv:2103.14030).

Run: python tools/train.py configs/swin/swin_b_coco_384x288.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 75.9 with boxes of person AP 56.4)
"""

_base_ = ['swin_b_coco_256x192.py']

model = dict(codec=dict(input_size=(288, 384)), backbone=dict(window_size=12))
