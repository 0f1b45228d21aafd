"""Swin-T on COCO at 256x192 (Liu et al. 2021, arXiv:2103.14030).

Run: python tools/train.py configs/swin/swin_t_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.4 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(192, 256), sigma_px=8.0),
    backbone=dict(type='SwinTransformer', out_strides=(32,)),
    head=dict(type='DeconvHead'),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
train_dataloader = dict(batch_size=32)
