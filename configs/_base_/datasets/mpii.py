"""MPII people in squares of 250 px times their scale, 15 px below their center (released code of HRNet)."""

skeleton = 'mpii'
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='MPIISource', split='train')],
        pipeline=dict(
            crop=dict(type='CropByScale', magnification_at_368=368 / 250, center_offset_y=15),
            affine=dict(type='NormalScaleRotate', scale_factor=0.25, degrees=30),
            flip=dict(type='RandomFlip'),
            warp=dict(type='Warp'),
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='MPIISource', split='val')],
        pipeline=dict(
            crop=dict(type='CropByScale', magnification_at_368=368 / 250, center_offset_y=15),
            warp=dict(type='Warp'),
        ),
        image_cache_size=1,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='PCKh')
