"""ViTPose-H with the classic decoder on COCO at 256x192 (Xu et al. 2022, arXiv:2204.12484).

Run: python tools/train.py configs/vitpose/vitpose_h_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published: AP 79.1 with boxes of person AP 56.4)
"""

_base_ = ['./vitpose_b_coco_256x192.py']

model = dict(backbone=dict(arch='H'))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.85))
