"""Lite-HRNet-18 on COCO at 256x192 (Yu et al. 2021, arXiv:2104.06403).

Run: python tools/train.py configs/lite_hrnet/lite_hrnet18_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 64.2 with boxes of person AP 56.4)
"""

_base_ = ['../hrnet/hrnet_w32_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='LiteHRNet'))
