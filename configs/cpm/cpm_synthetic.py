"""Three-stage CPM of the VGG kind on the embedded data set at 96 px: what demo/quickstart.sh trains in three minutes.

Data: python tools/dataset.py prepare synthetic --out data/synthetic
Run: python tools/train.py configs/cpm/cpm_synthetic.py
PCK@0.2 on its 200 test pictures: 57.1 (docs/results.md)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_lite.py']

root = 'data/synthetic'
light = ((7, 48), (7, 48), (7, 48), (1, 48))
model = dict(codec=dict(input_size=(96, 96)), head=dict(center_sigma=5.5, context=light))
picture = dict(type='PlacePicture', fill=1.15, side='longer')
training = [
    picture,
    dict(type='RandomScaleRotate', scale=(0.95, 1.05), degrees=8, shift=0.01),
    dict(type='RandomFlip'),
    dict(type='Warp'),
]
testing = [picture, dict(type='Warp')]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(sources=[dict(type='LSPSource', root=root, half='train')], pipeline=training),
)
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(sources=[dict(type='LSPSource', root=root, half='test')], pipeline=testing),
)
val_dataloader = None
train_cfg = dict(epochs=None, steps=1400)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=1400),
]
custom_hooks = [dict(type='EMAHook', momentum=0.01, update_buffers=True)]
default_hooks = dict(checkpoint=dict(interval=500))
