"""CPN's solver (Chen et al. 2018, released code): Adam, the rate halved every 3.6 million of 24 million samples.

The steps are those of a batch of 32; another batch size needs another `max_steps`.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4, weight_decay=1e-5))
param_scheduler = [dict(type='StepLR', step_size=112500 / 750000, gamma=0.5)]
train_cfg = dict(max_steps=750000, val_interval=18750)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1875))
