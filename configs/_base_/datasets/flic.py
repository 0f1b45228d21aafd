"""FLIC, observer-centric, with CPM's crops and augmentation (Wei et al. 2016)."""

skeleton = 'flic'
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='FLICSource', split='train')],
        pipeline=[
            dict(type='CropByScale'),
            dict(type='RandomScaleRotate', scale_factor=(0.7, 1.3), degrees=40),
            dict(type='RandomFlip'),
            dict(type='Warp', interpolation='cubic'),
        ],
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='FLICSource', split='test')],
        pipeline=[
            dict(type='CropByScale'),
            dict(type='MultiScaleCrop', scales=(1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3)),
            dict(type='Warp', interpolation='cubic'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='FLICSource', split='test')],
        pipeline=[dict(type='CropByScale'), dict(type='Warp', interpolation='cubic')],
    ),
)
val_evaluator = test_evaluator = dict(type='PCK')
