"""Three-stage CPM of the VGG kind on Leeds Sports Pose at 128 px, small enough to train on a CPU.

Run: python tools/train.py configs/cpm/cpm_lsp_lite.py
PCK@0.2 on the LSP test set, person-centric: 76.74 (docs/lab/results.md; its weights are installed, too)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_lite.py']

letterbox = dict(type='LetterboxImage', fill_fraction=0.9, side='longer')
crop_box = dict(type='CropBox', padding=1.11)
warp = dict(interpolation='linear')
train_steps = dict(
    crop=dict(_delete_=True, type='TransformBySource', transforms=dict(lsp=letterbox, lspet=crop_box)),
    affine=dict(degrees=35, shift_factor=0.03),
    warp=warp,
    color=dict(type='RandomColor'),
)
test_steps = dict(crop=letterbox, scales=None, warp=warp)
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=train_steps))
val_dataloader = test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=test_steps))
train_cfg = dict(max_epochs=150, val_interval=15)
