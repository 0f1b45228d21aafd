"""Whole COCO images with all instances, for one-stage models; the test images are RTMO's."""

skeleton = 'coco'
letterbox = dict(type='LetterboxImage', fill_fraction=1.0, side='longer')
warp = dict(type='Warp', fill_color=(114, 114, 114))
affine = dict(type='RandomScaleRotate', scale_factor=(0.75, 1.0), degrees=10)
shift = dict(type='RandomShift', shift_factor=0.1)
train_pipeline = dict(
    fit=letterbox,
    affine=affine,
    shift=shift,
    flip=dict(type='RandomFlip'),
    mask=dict(type='MaskIgnoredRegions'),
    warp=warp,
)
test_pipeline = dict(fit=letterbox, warp=warp)
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
