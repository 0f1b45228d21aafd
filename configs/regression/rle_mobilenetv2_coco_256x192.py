"""RLE with MobileNetV2 on COCO at 256x192 (Li et al. 2021, arXiv:2107.11291).

Run: python tools/train.py configs/regression/rle_mobilenetv2_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 59.3 with boxes of person AP 56.4)
"""

_base_ = ['./rle_r50_coco_256x192.py']

model = dict(backbone=dict(_delete_=True, type='MobileNetV2', last_channels=1280))
