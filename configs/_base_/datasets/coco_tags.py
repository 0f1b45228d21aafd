"""Whole COCO images with all instances, letterboxed to 512 px (Cheng et al. 2020, arXiv:1908.10357).

In the released code the shorter side is 0.75 to 1.5 times the input's; for a 4:3 image that is 1 to 2 times by the
longer side.
"""

_base_ = ['./coco_bottom_up.py']

skeleton = 'coco'
train_pipeline = [
    dict(type='LetterboxImage', fill_fraction=1.0, side='longer'),
    dict(type='RandomScaleRotate', scale_factor=(1.0, 2.0), degrees=30),
    dict(type='RandomShift', shift_factor=40 / 512),
    dict(type='RandomFlip'),
    dict(type='MaskIgnoredRegions'),
    dict(type='Warp'),
]
test_pipeline = [dict(type='FitImage', side='shorter', size_divisor=64), dict(type='Warp')]
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=train_pipeline, data_mode='bottomup'))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(_delete_=True, type='OKSAP')
