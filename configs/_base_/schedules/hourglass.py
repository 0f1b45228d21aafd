"""The stacked hourglass's solver (Newell et al. 2016, released Lua code): RMSprop at one rate, 100 times 8,000 steps.

A step is 6 people.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='RMSprop', lr=2.5e-4, alpha=0.99, eps=1e-8))
param_scheduler = None
train_cfg = dict(steps=800000, val_interval=8000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=8000))
