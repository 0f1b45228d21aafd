"""SimpleBaseline's solver (Xiao et al. 2018, released code): Adam, a tenth of the rate at 90 and 120 of 140 epochs.

The rate is stated for 128 instances a step; auto_scale_lr=dict(base_batch_size=128) scales it for others.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [dict(type='MultiStepLR', milestones=[90 / 140, 120 / 140], gamma=0.1)]
train_cfg = dict(max_epochs=140, val_interval=10)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=10))
