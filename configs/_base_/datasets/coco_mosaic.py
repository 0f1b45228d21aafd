"""Whole COCO images as RTMO trains on them: rotated and shrunk mosaics, MixUp and color augmentation.

The last 20 of 600 epochs have neither mosaics nor MixUp: single images are rotated and shrunk.
"""

_base_ = ['./coco_one_stage.py']

letterbox = dict(type='LetterboxImage', fill_fraction=1.0, side='longer')
affine = [
    dict(type='RandomScaleRotate', scale_factor=(0.75, 1.0), degrees=10),
    dict(type='RandomShift', shift_factor=0.1),
]
mosaic_mixup = [dict(type='Mosaic'), letterbox, *affine, dict(type='MixUp')]
train_pipeline = [
    dict(type='PipelineSwitch', switch_epoch=580, first_transforms=mosaic_mixup, later_transforms=[letterbox, *affine]),
    dict(type='RandomFlip'),
    dict(type='MaskIgnoredRegions'),
    dict(type='Warp', fill_color=(114, 114, 114)),
    dict(type='RandomHSV'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
