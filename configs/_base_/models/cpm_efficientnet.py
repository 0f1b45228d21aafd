"""Three-stage CPM on EfficientNet-Lite0, whose features of stride 8 to 32 a pyramid brings to stride 8."""

model = dict(
    type='TopDown',
    # As the backbone's ImageNet weights expect.
    input_norm=dict(mean=(127, 127, 127), std=(128, 128, 128), channel_order='rgb'),
    codec=dict(type='CPMHeatmap', input_size=(128, 128), sigma_px=8.0, unlabeled='ignore', refine='taylor'),
    backbone=dict(type='EfficientNetLite', size=0, out_strides=(8, 16, 32)),
    neck=dict(type='FPN', out_channels=128, out_strides=(8,)),
    head=dict(
        type='CPMHead',
        num_stages=3,
        first_layers=((1, 128),),
        image_layers=((1, 48),),
        context_layers=((5, 64), (5, 64), (5, 64), (1, 64)),
        heatmaps_first=True,
        center_sigma_px=7.3,
        norm_cfg=dict(type='BN'),
        init_std=None,
    ),
    loss=dict(type='SumSquaredError'),
    flip_test=True,
    channels_last=True,
)
