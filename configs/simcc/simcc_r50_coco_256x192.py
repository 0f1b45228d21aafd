"""SimCC with ResNet-50 on COCO at 256x192 (Li et al. 2022, arXiv:2107.03332), by MMPose's recipe.

Run: python tools/train.py configs/simcc/simcc_r50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.1 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco_wide.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='SimCC', input_size=(192, 256), sigma=6.0, from_logits=True),
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='SimCCHead'),
    loss=dict(type='KLDivergence'),
    flip_test=True,
)
train_dataloader = dict(batch_size=512)
