"""Disks and offsets instead of heatmaps on the CPM head at 128 px, on data in the layout of Leeds Sports Pose.

Run: POSEPLUG_DATA=FOLDER python tools/train.py demo/plugin/configs/disk_offset.py      (FOLDER/lsp has joints.mat)
PCK@0.2 on the test split: not trained yet

It stands alone; a config that builds on one of poseplug's names it as its base: _base_ = 'poseplug::cpm_lsp_lite'.
"""

skeleton = 'lsp'
model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(64, 64, 64), channel_order='bgr'),
    codec=dict(type='DiskOffset', input_size=(128, 128)),
    backbone=dict(
        type='CPMVGGTrunk',
        vgg_channels=(16, 32, 64, 128),
        extra_channels=(64, 64),
        norm_cfg=dict(type='BN'),
        init_std=None,
    ),
    head=dict(
        type='CPMHead',
        num_stages=2,
        first_layers=((1, 128),),
        image_layers=(),
        context_layers=((7, 64), (7, 64), (7, 64), (1, 64)),
        heatmaps_first=True,
        center_sigma_px=7.3,
        norm_cfg=dict(type='BN'),
        init_std=None,
    ),
    loss=dict(type='SumSquaredError'),
    flip_test=True,
)

crop = dict(type='LetterboxImage', fill_fraction=0.9, side='longer')
train_pipeline = [crop, dict(type='RandomScaleRotate', degrees=30), dict(type='RandomFlip'), dict(type='Warp')]
test_pipeline = [crop, dict(type='Warp')]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(type='PoseDataset', sources=[dict(type='LSPSource', split='train')], pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(type='PoseDataset', sources=[dict(type='LSPSource', split='test')], pipeline=test_pipeline),
)
val_evaluator = test_evaluator = dict(type='PCK')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(max_epochs=40, val_interval=10)
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
]
