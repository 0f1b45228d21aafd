"""Three-stage CPM on EfficientNet-Lite0 at 128 px: the last and longest part of its training.

Starts from the second part: --init work_dirs/cpm_efficientnet_lsp_second
Run: python tools/train.py configs/cpm/cpm_efficientnet_lsp.py
PCK@0.2 on the LSP test set, person-centric: 80.12 (docs/lab/results.md; the shipped weights)
"""

_base_ = ['./cpm_efficientnet_lsp_long.py']

medium = dict(
    half_body=dict(prob=0.08), paste=dict(prob=0.2), downscale=dict(prob=0.15), blur=dict(prob=0.07), cut=dict(prob=0.1)
)
train_dataloader = dict(
    source_ratios=dict(lsp=0.42, lspet=0.52, coco=0.06),
    dataset=dict(pipeline=medium),
)
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
train_cfg = dict(max_steps=10000, val_interval=2000)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=200),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
