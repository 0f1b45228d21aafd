"""Three-stage CPM of the VGG kind on the synthetic data set at 96 px: what demo/quickstart.sh trains in three minutes.

Data: poseplug dataset prepare synthetic --out data/synthetic
Run: python tools/train.py configs/cpm/cpm_synthetic.py
PCK@0.2 on its 200 test images: 57.1 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_lite.py']

data_root = 'data/synthetic'
context_layers = ((7, 48), (7, 48), (7, 48), (1, 48))
model = dict(codec=dict(input_size=(96, 96)), head=dict(center_sigma_px=5.5, context_layers=context_layers))
letterbox = dict(type='LetterboxImage', fill_fraction=1.15, side='longer')
warp = dict(interpolation='linear')
affine = dict(scale_factor=(0.95, 1.05), degrees=8, shift_factor=0.01)
train_steps = dict(crop=dict(_delete_=True, **letterbox), affine=affine, warp=warp)
test_steps = dict(crop=letterbox, scales=None, warp=warp)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(sources=[dict(type='LSPSource', data_root=data_root, split='train')], pipeline=train_steps),
)
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(sources=[dict(type='LSPSource', data_root=data_root, split='test')], pipeline=test_steps),
)
val_dataloader = None
train_cfg = dict(max_epochs=None, max_steps=1400)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.01, update_buffers=True)]
default_hooks = dict(checkpoint=dict(interval=500))
