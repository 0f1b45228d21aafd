"""RTMO's solver (Lu et al. 2023): AdamW with two cosine decays, gradients clipped to a norm of 0.1, averaged weights.

Five epochs of warm-up, then from 4e-3 to 2e-4 at epoch 280, where the second phase starts at 5e-4 and decays to 2e-4
at 580; the last 20 epochs are without mosaics. The encoder has a twentieth of the rate. The rate is stated for 256
images a step; auto_scale_lr=dict(base_batch_size=256) scales it for others. For several processes set
model_wrapper_cfg and sync_bn as for any model.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    paramwise_cfg=dict(rules={r'^neck\.encoder\.': dict(lr_mult=0.05)}, no_weight_decay='vectors'),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = [
    dict(type='QuadraticWarmupLR', begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, end=280, T_max=275, eta_min=2e-4, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[280], gamma=2.5),
    dict(type='CosineAnnealingLR', begin=280, end=580, T_max=300, eta_min=2e-4, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=600, val_interval=20)
phases = {
    '280': dict(proxy_target='keypoints', loss_weights=dict(keypoints=5.0, proxy=10.0)),
    '580': dict(loss_weights=dict(raw_box=1.0)),
}
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, update_buffers=True),
    dict(type='PhaseHook', phases=phases),
]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=20))
