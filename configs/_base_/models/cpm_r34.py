"""Three-stage CPM on half the width of ResNet-34 up to stride 16, with a pyramid back to stride 8."""

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(64, 64, 64), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(128, 128), sigma_px=8.0, unlabeled='ignore', refine='taylor'),
    backbone=dict(type='ResNet', depth=34, base_channels=32, out_strides=(8, 16)),
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
