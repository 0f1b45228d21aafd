"""SimpleBaseline with ResNet-D-50 on COCO at 256x192 (He et al. 2019, arXiv:1812.01187).

Run: python tools/train.py configs/simple_baseline/simple_baseline_resnetv1d50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.2 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(deep_stem=True, pool_shortcut=True))
