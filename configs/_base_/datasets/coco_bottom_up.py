"""Whole COCO images with all instances, centered on one of them (Cao et al. 2017, arXiv:1611.08050).

The released BODY_25 example has scale_factor=(1/3, 1.5) and degrees=45. For four scales at test time, set
the step scales=dict(type='MultiScaleImage', scales=(1.0, 0.5, 1.5, 2.0)). The test loader has batches of one, since
the images differ in shape.
"""

skeleton = 'coco18'
train_pipeline = dict(
    fit=dict(type='CenterOnInstance', height_fraction=0.6),
    affine=dict(type='RandomScaleRotate', scale_factor=(0.5, 1.1), degrees=40),
    shift=dict(type='RandomShift', shift_factor=40 / 368),
    flip=dict(type='RandomFlip'),
    mask=dict(type='MaskIgnoredRegions'),
    warp=dict(type='Warp'),
)
test_pipeline = dict(fit=dict(type='FitImage', side='height'), scales=None, warp=dict(type='Warp'))
train_dataloader = dict(
    batch_size=10,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='train', segmentations=True)],
        pipeline=train_pipeline,
        data_mode='bottomup_centered',
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='val', keep_empty=True)],
        pipeline=test_pipeline,
        data_mode='bottomup',
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OnSkeleton', target_skeleton='coco', metric=dict(type='OKSAP'))
