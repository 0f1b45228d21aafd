"""Lite-HRNet-30 on COCO at 256x192 (Yu et al. 2021, arXiv:2104.06403).

Run: python tools/train.py configs/lite_hrnet/lite_hrnet30_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 67.6 with boxes of person AP 56.4)
"""

_base_ = ['./lite_hrnet18_coco_256x192.py']

model = dict(backbone=dict(num_modules=(3, 8, 3)))
