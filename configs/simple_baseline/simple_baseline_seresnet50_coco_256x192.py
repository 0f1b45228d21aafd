"""SimpleBaseline with SE-ResNet-50 on COCO at 256x192 (Hu et al. 2018, arXiv:1709.01507).

Run: python tools/train.py configs/simple_baseline/simple_baseline_seresnet50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.9 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(se_ratio=16))
