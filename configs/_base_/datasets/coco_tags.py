"""Whole COCO images with all instances, letterboxed to 512 px (Cheng et al. 2020, arXiv:1908.10357).

In the released code the shorter side is 0.75 to 1.5 times the input's; for a 4:3 image that is 1 to 2 times by the
longer side.
"""

_base_ = ['./coco_bottom_up.py']

skeleton = 'coco'
train_steps = dict(
    fit=dict(_delete_=True, type='LetterboxImage', fill_fraction=1.0, side='longer'),
    affine=dict(scale_factor=(1.0, 2.0), degrees=30),
    shift=dict(shift_factor=40 / 512),
)
test_steps = dict(fit=dict(side='shorter', size_divisor=64))
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=train_steps, data_mode='bottomup'))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_steps))
val_evaluator = test_evaluator = dict(_delete_=True, type='OKSAP')
