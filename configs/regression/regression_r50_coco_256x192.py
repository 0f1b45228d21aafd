"""Plain regression with ResNet-50 on COCO at 256x192 (Toshev and Szegedy 2014, arXiv:1312.4659), by MMPose's recipe.

Run: python tools/train.py configs/regression/regression_r50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 52.8 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco_wide.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='Regression', input_size=(192, 256)),
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='RegressionHead'),
    loss=dict(type='SmoothL1Loss'),
    flip_test=True,
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_dataloader = dict(batch_size=512)
