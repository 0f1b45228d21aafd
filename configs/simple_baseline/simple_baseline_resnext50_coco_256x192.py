"""SimpleBaseline with ResNeXt-50 32x4d on COCO at 256x192 (Xie et al. 2017, arXiv:1611.05431).

Run: python tools/train.py configs/simple_baseline/simple_baseline_resnext50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 71.5 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(groups=32, width_per_group=4))
