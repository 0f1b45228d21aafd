"""SimpleBaseline with ResNeSt-50 on COCO at 256x192 (Zhang et al. 2022, arXiv:2004.08955).

Run: python tools/train.py configs/simple_baseline/simple_baseline_resnest50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.0 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(block='split_attention', deep_stem=True, pool_shortcut=True))
