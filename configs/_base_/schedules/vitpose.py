"""ViTPose's solver (Xu et al. 2022, released code): AdamW with layer-wise decay of the learning rate.

`layer_decay_rate` is ViT-B's: 0.8 for S and L, 0.85 for H. The rate is stated for 512 instances a step;
auto_scale_lr=dict(base_batch_size=512) scales it for others.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.75, no_weight_decay='vectors', rules={r'pos_embed$': dict(decay_mult=0)}),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=500, max_fraction=0.1),
    dict(type='MultiStepLR', milestones=[170 / 210, 200 / 210], gamma=0.1),
]
train_cfg = dict(max_epochs=210, val_interval=10)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=10))
