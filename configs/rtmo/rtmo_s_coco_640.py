"""RTMO-s on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

Its backbone starts from YOLOX-s trained on COCO's boxes: init=dict(backbone=FILE).
Run: python tools/train.py configs/rtmo/rtmo_s_coco_640.py
AP on COCO val2017: not trained yet (paper: 67.7)
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/rtmo.py']

model = dict(
    type='OneStage',
    codec=dict(type='People', input_size=(640, 640)),
    backbone=dict(type='CSPDarknet', widen=0.5, deepen=0.33),
    neck=dict(type='HybridEncoder', out=256, widen=0.5, deepen=0.33),
    head=dict(type='RTMOHead', width=144),
    assigner=dict(type='SimOTA', middle='joints'),
    weights=dict(joints=1.0),
    sizes=(480, 800, 32),
)
placing = dict(type='PlacePicture', fill=1.0, side='longer')
turning = [dict(type='RandomScaleRotate', scale=(0.75, 1.0), degrees=10), dict(type='RandomShift', share=0.1)]
mixed = [dict(type='Mosaic'), placing, *turning, dict(type='MixUp')]
training = [
    dict(type='Until', epoch=580, transforms=mixed, then=[placing]),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp', fill=(114, 114, 114)),
    dict(type='RandomHSV'),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=training))
