"""Three-stage CPM on EfficientNet-Lite0 at 128 px: the second part of its training, with more LSP.

Starts from the first part: --init work_dirs/cpm_efficientnet_lsp_long/best.pth
Run: python tools/train.py configs/cpm/cpm_efficientnet_lsp_second.py
PCK@0.2 on 1,000 validation images of LSP and LSPET, person-centric: 66.56 (docs/lab/results.md)
"""

_base_ = ['./cpm_efficientnet_lsp_long.py']

weaker = dict(
    half_body=dict(prob=0.05), paste=dict(prob=0.1), downscale=dict(prob=0.1), blur=dict(prob=0.05), cut=dict(prob=0.07)
)
train_dataloader = dict(
    source_ratios=dict(lsp=0.55, lspet=0.41, coco=0.04),
    dataset=dict(pipeline=weaker),
)
optim_wrapper = dict(optimizer=dict(lr=8e-4))
train_cfg = dict(max_steps=3200, val_interval=800)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', momentum=0.003, update_buffers=True)]
