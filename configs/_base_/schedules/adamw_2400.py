"""AdamW over 2,400 steps with a short warm-up and cosine decay to zero, for experiments of minutes on a CPU."""

_base_ = ['./adamw.py']

train_cfg = dict(max_epochs=None, max_steps=2400, val_interval=0)
default_hooks = dict(checkpoint=dict(interval=400))
