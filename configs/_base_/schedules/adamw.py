"""AdamW with a short warm-up and cosine decay to zero, and averaged weights for testing.

The decay ends with the run, whatever its length.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(rules={r'bias$': dict(decay_mult=0)}),
)
train_cfg = dict(max_epochs=100, val_interval=20)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100, max_fraction=0.1),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.002, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=10))
