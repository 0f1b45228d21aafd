"""COCO's whole pictures, each as a whole, with everybody in it at 512 px (Cheng et al. 2020, arXiv:1908.10357).

In the released code the shorter side is 0.75 to 1.5 of the input's; of a picture of 4:3 that is 1 to 2 by the longer
side.
"""

_base_ = ['./coco_bottom_up.py']

skeleton = 'coco'
training = [
    dict(type='PlacePicture', fill=1.0, side='longer'),
    dict(type='RandomScaleRotate', scale=(1.0, 2.0), degrees=30),
    dict(type='RandomShift', share=40 / 512),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp'),
]
testing = [dict(type='PlaceWhole', side='shorter', multiple=64), dict(type='Warp')]
train_dataloader = dict(batch_size=24, dataset=dict(pipeline=training, per='image'))
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=testing))
val_evaluator = test_evaluator = dict(_delete_=True, type='OKSAP')
