"""CPM's solver (Wei et al. 2016, released code): SGD, stage 1 at 5 times the rate, biases at twice that, undecayed."""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=8e-5, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        rules={
            r'^(backbone\.trunks\.0|head\.first|head\.predict\.0)\..*weight$': dict(lr_mult=5),
            r'^(backbone\.trunks\.0|head\.first|head\.predict\.0)\..*bias$': dict(lr_mult=10, decay_mult=0),
            r'bias$': dict(lr_mult=2, decay_mult=0),
        }
    ),
)
param_scheduler = [dict(type='StepLR', step_size=136106 / 600000, gamma=0.333)]
train_cfg = dict(max_steps=600000, val_interval=5000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000, save_best='PCK@0.2'))
