"""OpenPose's solver (Cao et al. 2017, released code): SGD, later stages four times as fast, biases twice and undecayed.

A step is 10 pictures, the loss a sum of squares (SumSquaredError); the released weights are those of 440,000 steps.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleConstructor',
    optimizer=dict(type='SGD', lr=4e-5, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        rules={
            r'^head\.steps\.[1-9].*weight$': dict(lr=4),
            r'^head\.steps\.[1-9].*bias$': dict(lr=8, decay=0),
            r'bias$': dict(lr=2, decay=0),
        }
    ),
)
param_scheduler = [dict(type='StepLR', by_epoch=False, step_size=136106, gamma=0.333)]
train_cfg = dict(steps=600000, val_interval=5000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000))
