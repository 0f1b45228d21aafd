"""An hourglass of half the width, a student for distillation, on Leeds Sports Pose at 128 px.

Run: python tools/train.py configs/hourglass/hourglass_half_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: 42.73 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./hourglass1_lsp_128.py']

model = dict(backbone=dict(channels=32), head=dict(channels=32))
train_cfg = dict(max_steps=1200)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=1200),
]
