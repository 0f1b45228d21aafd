"""The installed CPM on EfficientNet-Lite0, fine-tuned to the synthetic data set: what demo/quickstart.sh trains.

Data: poseplug dataset prepare synthetic --out data/synthetic
Run: python tools/train.py configs/cpm/cpm_efficientnet_synthetic.py
PCK@0.2 on its 200 test images: 78.50 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/synthetic.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_efficientnet.py']

init = 'cpm_efficientnet_lsp'
# Up to stride 4, where most of the time would go.
freeze = [r'^backbone\.features\.[0-3]\.']
train_cfg = dict(max_epochs=None, max_steps=700)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.01, update_buffers=True)]
default_hooks = dict(checkpoint=dict(interval=500))
precision = 'auto'
