"""Three-stage CPM of the VGG kind on Leeds Sports Pose at 128 px, small enough to train on a CPU.

Run: python tools/train.py configs/cpm/cpm_lsp_lite.py
PCK@0.2 on the LSP test set, person-centric: 76.74 (docs/results.md; the weights are shipped)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_lite.py']

picture = dict(type='PlacePicture', fill=0.9, side='longer')
training = [
    dict(type='PlaceBySource', rules=dict(lsp=picture, lspet=dict(type='PlaceBox', padding=1.11))),
    dict(type='RandomScaleRotate', scale=(0.7, 1.3), degrees=35, shift=0.03),
    dict(type='RandomFlip'),
    dict(type='Warp'),
    dict(type='RandomColor'),
]
testing = [picture, dict(type='Warp')]
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=training))
val_dataloader = test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=testing))
train_cfg = dict(epochs=150, val_interval=15)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=150, convert_to_iter_based=True),
]
