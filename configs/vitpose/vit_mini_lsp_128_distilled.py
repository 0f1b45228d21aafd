"""Distillation from the teacher's heatmaps, in addition to its token (Xu et al. 2022: the two kinds add up).

Train the token first: python tools/train.py configs/vitpose/vit_tiny_lsp_128_token.py
Run: python tools/train.py configs/vitpose/vit_mini_lsp_128_distilled.py
PCK@0.2 on the LSP test set, person-centric: 41.56 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./vit_mini_lsp_128_token.py']

model = dict(
    type='DistilledTopDown',
    teacher=dict(config='configs/vitpose/vit_tiny_lsp_128.py', weights='work_dirs/vit_tiny_lsp_128'),
    distill_loss=dict(type='MeanSquaredError', loss_weight=1000.0),
)
