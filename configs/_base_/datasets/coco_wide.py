"""COCO people with stronger augmentation: half bodies, scales from 0.5 to 1.5, rotation and shift.

These are MMPose's defaults, except that a random value beyond its bound is clipped and not drawn again.
"""

_base_ = ['./coco.py']

train_pipeline = [
    dict(type='CropBox'),
    dict(type='RandomHalfBody'),
    dict(type='NormalScaleRotate', scale_factor=0.5, degrees=40, shift_factor=0.08),
    dict(type='RandomFlip'),
    dict(type='Warp'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
