"""Whole COCO images as RTMO trains on them: rotated and shrunk mosaics, MixUp and color augmentation.

The last 20 of 600 epochs have neither mosaics nor MixUp: single images are rotated and shrunk.
"""

_base_ = ['./coco_one_stage.py']

single = dict(fit=_base_.letterbox, affine=_base_.affine, shift=_base_.shift)
mixed = dict(mosaic=dict(type='Mosaic'), **single, mixup=dict(type='MixUp'))
switch = dict(type='PipelineSwitch', switch_epoch=580 / 600, first_transforms=mixed, later_transforms=single)
steps = dict(fit=dict(_delete_=True, **switch), affine=None, shift=None, hsv=dict(type='RandomHSV'))
train_dataloader = dict(dataset=dict(pipeline=steps))
