"""Three-stage CPM of the VGG kind at 128 px: an eighth of the channels, batch norm, Taylor read-out, flip test."""

model = dict(
    type='TopDown',
    pixels=dict(mean=(128, 128, 128), std=(64, 64, 64), order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(128, 128), sigma=8.0, missing='ignore', refine='taylor'),
    backbone=dict(type='CPMVGGTrunk', vgg=(16, 32, 64, 128), extra=(64, 64, 64, 64), norm='BN', init_std=None),
    head=dict(
        type='CPMHead',
        stages=3,
        first=((1, 128),),
        image=(),
        context=((7, 64), (7, 64), (7, 64), (7, 64), (7, 64), (1, 64)),
        beliefs_first=True,
        center_sigma=7.3,
        norm='BN',
        init_std=None,
    ),
    loss=dict(type='SumSquaredError'),
    flip_test=True,
    channels_last=True,
)
