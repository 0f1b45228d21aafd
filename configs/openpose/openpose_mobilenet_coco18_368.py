"""Lightweight OpenPose on MobileNet at 368 px (Osokin 2018, arXiv:1811.12004).

Adam at the released code's rate for 80 images a step, a third of it after 100, 200 and 260 of 280 epochs. Training
starts from MobileNet's weights for ImageNet (--init), and is repeated twice from the resulting weights.
Run: python tools/train.py configs/openpose/openpose_mobilenet_coco18_368.py
AP on COCO val2017, one scale: not trained yet (published: AP 38 after one round of training, 40 after three)
"""

_base_ = ['./openpose_vgg19_coco18_368.py']

model = dict(
    codec=dict(parser='lightweight'),
    backbone=dict(_delete_=True, type='MobileNetV1', out_strides=(8,), num_dilated=6),
    head=dict(_delete_=True, type='LightweightOpenPoseHead', num_stages=2),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=4e-5, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[100 / 280, 200 / 280, 260 / 280], gamma=0.333)]
train_cfg = dict(_delete_=True, max_epochs=280, val_interval=10)
train_dataloader = dict(batch_size=80)
