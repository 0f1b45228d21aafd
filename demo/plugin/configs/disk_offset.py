"""Disks and offsets instead of heatmaps, on the CPM head, at 128 px; on pictures laid out as Leeds Sports Pose.

Run: POSEPLUG_DATA=FOLDER python tools/train.py demo/plugin/configs/disk_offset.py      (FOLDER/lsp has joints.mat)
PCK@0.2 on the test half: not trained yet

It stands on its own: `_base_` reaches files beside a config, and this one is installed far from poseplug's.
"""

skeleton = 'lsp'
model = dict(
    type='TopDown',
    pixels=dict(mean=(128, 128, 128), std=(64, 64, 64), order='bgr'),
    codec=dict(type='DiskOffset', input_size=(128, 128)),
    backbone=dict(type='CPMVGGTrunk', vgg=(16, 32, 64, 128), extra=(64, 64), norm='BN', init_std=None),
    head=dict(
        type='CPMHead',
        stages=2,
        first=((1, 128),),
        image=(),
        context=((7, 64), (7, 64), (7, 64), (1, 64)),
        beliefs_first=True,
        center_sigma=7.3,
        norm='BN',
        init_std=None,
    ),
    loss=dict(type='SumSquaredError'),
    flip_test=True,
)

place = dict(type='PlacePicture', fill=0.9, side='longer')
augmented = [place, dict(type='RandomScaleRotate', degrees=30), dict(type='RandomFlip'), dict(type='Warp')]
plain = [place, dict(type='Warp')]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(type='PoseDataset', sources=[dict(type='LSPSource', half='train')], pipeline=augmented),
)
val_dataloader = test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(type='PoseDataset', sources=[dict(type='LSPSource', half='test')], pipeline=plain),
)
val_evaluator = test_evaluator = dict(type='PCK')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(epochs=40, val_interval=10)
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
]
