"""Three-stage CPM of the VGG kind on the synthetic data set at 96 px: from scratch in three minutes on two cores.

Data: poseplug dataset prepare synthetic --out data/synthetic
Run: python tools/train.py configs/cpm/cpm_synthetic.py
PCK@0.2 on its 200 test images: 57.1 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/synthetic.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_lite.py']

context_layers = ((7, 48), (7, 48), (7, 48), (1, 48))
model = dict(codec=dict(input_size=(96, 96)), head=dict(center_sigma_px=5.5, context_layers=context_layers))
train_cfg = dict(max_epochs=None, max_steps=1400)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.01, update_buffers=True)]
default_hooks = dict(checkpoint=dict(interval=500))
