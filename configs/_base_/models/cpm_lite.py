"""Three-stage CPM of the VGG kind at 128 px: 1/8 of the channels, batch norm, Taylor refinement, flip test."""

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(64, 64, 64), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(128, 128), sigma_px=8.0, unlabeled='ignore', refine='taylor'),
    backbone=dict(
        type='CPMVGGTrunk',
        vgg_channels=(16, 32, 64, 128),
        extra_channels=(64, 64, 64, 64),
        norm_cfg=dict(type='BN'),
        init_std=None,
    ),
    head=dict(
        type='CPMHead',
        num_stages=3,
        first_layers=((1, 128),),
        image_layers=(),
        context_layers=((7, 64), (7, 64), (7, 64), (7, 64), (7, 64), (1, 64)),
        heatmaps_first=True,
        center_sigma_px=7.3,
        norm_cfg=dict(type='BN'),
        init_std=None,
    ),
    loss=dict(type='SumSquaredError'),
    flip_test=True,
    channels_last=True,
)
