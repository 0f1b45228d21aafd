"""COCO people under wider changes: half bodies, crops half to one and a half times as large, turned and moved.

These are MMPose's defaults, but that a draw beyond its bound is cut there and not drawn again.
"""

_base_ = ['./coco.py']

training = [
    dict(type='PlaceBox'),
    dict(type='RandomHalfBody'),
    dict(type='NormalScaleRotate', scale=0.5, degrees=40, shift=0.08),
    dict(type='RandomFlip'),
    dict(type='Warp'),
]
train_dataloader = dict(dataset=dict(pipeline=training))
