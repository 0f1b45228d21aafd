"""RTMO's solver (Lu et al. 2023): AdamW down two cosines, with gradients cut to a norm of 0.1 and averaged weights.

Five epochs of warm-up, then from 4e-3 to 2e-4 at epoch 280, where the second stage begins at 5e-4 and falls to 2e-4 at
580; the last 20 epochs are without mosaics. The encoder learns at a twentieth of it. The rate is stated for 256
pictures a step; auto_scale_lr=dict(base_batch_size=256) scales it for others. Across several processes
model_wrapper_cfg and sync_bn are as for any model.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    paramwise_cfg=dict(rules={r'^neck\.encoder\.': dict(lr=0.05)}, undecayed='vectors'),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = [
    dict(type='QuadraticWarmupLR', begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, end=280, T_max=275, eta_min=2e-4, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[280], gamma=2.5),
    dict(type='CosineAnnealingLR', begin=280, end=580, T_max=300, eta_min=2e-4, convert_to_iter_based=True),
]
train_cfg = dict(epochs=600, val_interval=20)
phases = {
    '280': dict(proxies='joints', weights=dict(joints=5.0, proxy=10.0)),
    '580': dict(weights=dict(raw=1.0)),
}
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, update_buffers=True),
    dict(type='PhaseHook', phases=phases),
]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=20))
