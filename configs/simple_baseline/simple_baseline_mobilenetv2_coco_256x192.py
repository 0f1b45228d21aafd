"""SimpleBaseline with MobileNetV2 on COCO at 256x192 (Sandler et al. 2018, arXiv:1801.04381).

Run: python tools/train.py configs/simple_baseline/simple_baseline_mobilenetv2_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 64.8 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='MobileNetV2', last_channels=1280))
