"""AdamW over 6,000 steps, otherwise as over 2,400, for experiments of an hour on a CPU."""

_base_ = ['./adamw_2400.py']

train_cfg = dict(max_steps=6000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=500))
