"""MPII people in squares of 250 px times their scale, a little below their position (released code of HRNet)."""

skeleton = 'mpii'
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='MPIISource', half='train')],
        pipeline=[
            dict(type='PlaceByScale', reference=368 / 250, down=15),
            dict(type='NormalScaleRotate', scale=0.25, degrees=30),
            dict(type='RandomFlip'),
            dict(type='Warp'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='MPIISource', half='val')],
        pipeline=[dict(type='PlaceByScale', reference=368 / 250, down=15), dict(type='Warp')],
        keep=1,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='PCKh')
