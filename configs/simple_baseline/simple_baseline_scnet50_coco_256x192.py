"""SimpleBaseline with SCNet-50 on COCO at 256x192 (Liu et al. 2020, self-calibrated convolutions).

Run: python tools/train.py configs/simple_baseline/simple_baseline_scnet50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.8 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(block='self_calibrated'))
