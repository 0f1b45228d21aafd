"""Whole COCO images with all instances, for one-stage models; the test images are RTMO's."""

skeleton = 'coco'
train_pipeline = [
    dict(type='LetterboxImage', fill_fraction=1.0, side='longer'),
    dict(type='RandomScaleRotate', scale_factor=(0.75, 1.0), degrees=10),
    dict(type='RandomShift', shift_factor=0.1),
    dict(type='RandomFlip'),
    dict(type='MaskIgnoredRegions'),
    dict(type='Warp', fill_color=(114, 114, 114)),
]
test_pipeline = [
    dict(type='LetterboxImage', fill_fraction=1.0, side='longer'),
    dict(type='Warp', fill_color=(114, 114, 114)),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='train', segmentations=True)],
        pipeline=train_pipeline,
        data_mode='bottomup',
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='val', keep_empty=True)],
        pipeline=test_pipeline,
        data_mode='bottomup',
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OKSAP')
