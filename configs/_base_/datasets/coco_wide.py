"""COCO people with stronger augmentation: half bodies, scales from 0.5 to 1.5, rotation and shift.

These are MMPose's defaults, except that a random value beyond its bound is clipped and not drawn again.
"""

_base_ = ['./coco.py']

steps = dict(half_body=dict(type='RandomHalfBody'), affine=dict(scale_factor=0.5, degrees=40, shift_factor=0.08))
train_dataloader = dict(dataset=dict(pipeline=steps))
