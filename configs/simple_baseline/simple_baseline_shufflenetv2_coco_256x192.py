"""SimpleBaseline with ShuffleNetV2 on COCO at 256x192 (Ma et al. 2018, arXiv:1807.11164).

Run: python tools/train.py configs/simple_baseline/simple_baseline_shufflenetv2_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 60.2 with boxes of person AP 56.4)
"""

_base_ = ['./simple_baseline_r50_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='ShuffleNetV2', last_channels=1024))
