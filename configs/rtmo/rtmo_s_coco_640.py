"""RTMO-s on COCO at 640 px (Lu et al. 2023, arXiv:2312.07526).

The backbone starts from YOLOX-s trained on COCO's boxes: init=dict(backbone=FILE).
Run: python tools/train.py configs/rtmo/rtmo_s_coco_640.py
AP on COCO val2017: not trained yet (paper: 67.7)
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/rtmo.py']

model = dict(
    type='OneStage',
    codec=dict(type='DenseInstances', input_size=(640, 640)),
    backbone=dict(type='CSPDarknet', widen_factor=0.5, deepen_factor=0.33),
    neck=dict(type='HybridEncoder', out_channels=256, widen_factor=0.5, deepen_factor=0.33),
    head=dict(type='RTMOHead', pose_channels=144),
    assigner=dict(type='SimOTA', center_from='keypoints'),
    loss_weights=dict(keypoints=1.0),
    random_size_range=(480, 800, 32),
)
letterbox = dict(type='LetterboxImage', fill_fraction=1.0, side='longer')
affine = [
    dict(type='RandomScaleRotate', scale_factor=(0.75, 1.0), degrees=10),
    dict(type='RandomShift', shift_factor=0.1),
]
mosaic_mixup = [dict(type='Mosaic'), letterbox, *affine, dict(type='MixUp')]
train_pipeline = [
    dict(type='PipelineSwitch', switch_epoch=580, first_transforms=mosaic_mixup, later_transforms=[letterbox]),
    dict(type='RandomFlip'),
    dict(type='MaskIgnoredRegions'),
    dict(type='Warp', fill_color=(114, 114, 114)),
    dict(type='RandomHSV'),
]
train_dataloader = dict(batch_size=256, dataset=dict(pipeline=train_pipeline))
