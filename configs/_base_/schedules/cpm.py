"""CPM's solver (Wei et al. 2016, released code): SGD, stage 1 five times as fast, biases twice so and undecayed."""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleConstructor',
    optimizer=dict(type='SGD', lr=8e-5, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        rules={
            r'^(backbone\.trunks\.0|head\.first|head\.predict\.0)\..*weight$': dict(lr=5),
            r'^(backbone\.trunks\.0|head\.first|head\.predict\.0)\..*bias$': dict(lr=10, decay=0),
            r'bias$': dict(lr=2, decay=0),
        }
    ),
)
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=136106, gamma=0.333)]
train_cfg = dict(steps=600000, val_interval=5000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000, best='PCK@0.2'))
