"""COCO's whole pictures as RTMO trains on them: mosaics turned and shrunk, a further picture shining through, colours.

Without mosaics and mixtures in the last 20 of 600 epochs, where pictures alone are turned and shrunk.
"""

_base_ = ['./coco_one_stage.py']

placing = dict(type='PlacePicture', fill=1.0, side='longer')
turning = [dict(type='RandomScaleRotate', scale=(0.75, 1.0), degrees=10), dict(type='RandomShift', share=0.1)]
mixed = [dict(type='Mosaic'), placing, *turning, dict(type='MixUp')]
training = [
    dict(type='Until', epoch=580, transforms=mixed, then=[placing, *turning]),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp', fill=(114, 114, 114)),
    dict(type='RandomHSV'),
]
train_dataloader = dict(dataset=dict(pipeline=training))
