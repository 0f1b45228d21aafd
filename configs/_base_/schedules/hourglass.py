"""The solver of the stacked hourglass (Newell et al. 2016, released Lua code): RMSprop, constant rate, 800,000 steps.

A step has 6 instances.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='RMSprop', lr=2.5e-4, alpha=0.99, eps=1e-8))
param_scheduler = None
train_cfg = dict(max_steps=800000, val_interval=8000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=8000))
