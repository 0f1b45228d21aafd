"""HRNet-W48 with DARK on COCO at 256x192 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hrnet/hrnet_w48_coco_256x192_dark.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 76.4 with boxes of person AP 56.4)
"""

_base_ = ['./hrnet_w32_coco_256x192_dark.py']

model = dict(backbone=dict(width=48))
