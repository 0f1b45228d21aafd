"""ViTPose-B on COCO whose attention keeps its pretrained weights (Xu et al. 2022).

Needs --cfg-options init.backbone=FILE: without it, random weights would be frozen.
Run: python tools/train.py configs/vitpose/vitpose_b_coco_256x192_frozen_attention.py
AP on COCO val2017, flip test: not trained yet
"""

_base_ = ['vitpose_b_coco_256x192.py']

freeze = [r'^backbone\.blocks\.\d+\.(attn|norm1)\.']
