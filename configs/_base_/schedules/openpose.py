"""OpenPose's solver (Cao et al. 2017, released code): SGD, later stages at four times the rate, biases at twice that.

A step has 10 images, the loss is a sum of squares (SumSquaredError); the released weights are those of step 440,000.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='RuleOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=4e-5, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(
        rules={
            r'^head\.steps\.[1-9].*weight$': dict(lr_mult=4),
            r'^head\.steps\.[1-9].*bias$': dict(lr_mult=8, decay_mult=0),
            r'bias$': dict(lr_mult=2, decay_mult=0),
        }
    ),
)
param_scheduler = [dict(type='StepLR', step_size=136106 / 600000, gamma=0.333)]
train_cfg = dict(max_steps=600000, val_interval=5000)
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000))
