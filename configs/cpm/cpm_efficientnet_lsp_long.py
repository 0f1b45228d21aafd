"""Three-stage CPM on EfficientNet-Lite0 with ImageNet weights, on LSP and LSPET at 128 px: the long first part.

Starts from published weights of the backbone: init = dict(backbone=FILE), see docs/lab/results.md
Run: python tools/train.py configs/cpm/cpm_efficientnet_lsp_long.py
PCK@0.2 on 1,000 validation images of LSP and LSPET, person-centric: 66.46 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/lsp_holdout.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_efficientnet.py']

part = dict(split='train_without_val')
coco = dict(type='CocoSource', split='train')
# Up to stride 4, where most of the time would go: 86 instead of 66 samples/s.
freeze = [r'^backbone\.features\.[0-3]\.']
train_dataloader = dict(
    source_ratios=dict(lsp=0.3, lspet=0.66, coco=0.04),
    dataset=dict(
        sources=[dict(type='LSPSource', **part), dict(type='LSPETSource', **part), coco],
        pipeline=dict(crop=dict(transforms=dict(coco=dict(type='CropBox', padding=1.11)))),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), paramwise_cfg=dict(rules={r'^backbone': dict(lr_mult=0.5)}))
train_cfg = dict(_delete_=True, max_steps=7500, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=300),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.001, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000, save_best='PCK@0.2'))
precision = 'auto'
