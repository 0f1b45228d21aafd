"""RTMPose's solver (Jiang et al. 2023): AdamW, constant rate for 210 epochs, then cosine decay to a twentieth of it.

The weight decay is that of m and l. The rate is stated for 1,024 instances a step;
auto_scale_lr=dict(base_batch_size=1024) scales it for others.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    paramwise_cfg=dict(no_weight_decay='vectors'),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=1e-5, begin=0, end=1000, max_fraction=0.1),
    dict(type='CosineAnnealingLR', begin=0.5, end=1.0, T_max=0.5, eta_min=2e-4),
]
train_cfg = dict(max_epochs=420, val_interval=10)
custom_hooks = [dict(type='EMAHook', momentum=2e-4, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=10))
