"""SimCC with ResNet-50 on COCO at 384x288 (Li et al. 2022, arXiv:2107.03332), by MMPose's recipe of 140 epochs.

Run: python tools/train.py configs/simcc/simcc_r50_coco_384x288.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 73.5 with boxes of person AP 56.4)
"""

_base_ = ['./simcc_r50_coco_256x192.py']

model = dict(codec=dict(input_size=(288, 384)))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=500, max_fraction=0.1),
    dict(type='MultiStepLR', milestones=[90 / 140, 120 / 140], gamma=0.1),
]
train_cfg = dict(max_epochs=140)
