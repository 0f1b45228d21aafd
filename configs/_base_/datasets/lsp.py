"""Leeds Sports Pose, person-centric, with CPM's crops and augmentation (Wei et al. 2016)."""

skeleton = 'lsp'
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource', split='train'), dict(type='LSPETSource')],
        pipeline=dict(
            crop=dict(type='CropByScale'),
            half_body=None,
            affine=dict(type='RandomScaleRotate', scale_factor=(0.7, 1.3), degrees=40),
            flip=dict(type='RandomFlip'),
            warp=dict(type='Warp', interpolation='cubic'),
        ),
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource', split='test')],
        pipeline=dict(
            crop=dict(type='LetterboxImage', fill_fraction=0.8, side='height'),
            scales=dict(type='MultiScaleCrop', scales=(1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3)),
            warp=dict(type='Warp', interpolation='cubic'),
        ),
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=2,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='LSPSource', split='test')],
        pipeline=dict(
            crop=dict(type='LetterboxImage', fill_fraction=0.8, side='height'),
            warp=dict(type='Warp', interpolation='cubic'),
        ),
    ),
)
val_evaluator = test_evaluator = dict(type='PCK')
