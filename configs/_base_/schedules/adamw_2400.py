"""AdamW over 2,400 steps with a short warm-up and cosine decay to zero, for experiments of minutes on a CPU."""

_base_ = ['./adamw.py']

train_cfg = dict(max_epochs=None, max_steps=2400, val_interval=0)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=2400),
]
default_hooks = dict(checkpoint=dict(interval=400))
