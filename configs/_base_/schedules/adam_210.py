"""Adam after 500 steps of warm-up, a tenth of the rate at 170 and 200 of 210 epochs: MMPose's for SimCC and regression.

The rate is stated for 512 instances a step; auto_scale_lr=dict(base_batch_size=512) scales it for others.
"""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=500, max_fraction=0.1),
    dict(type='MultiStepLR', milestones=[170 / 210, 200 / 210], gamma=0.1),
]
train_cfg = dict(max_epochs=210, val_interval=10)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=10))
