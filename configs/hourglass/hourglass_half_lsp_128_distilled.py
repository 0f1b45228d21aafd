"""The hourglass of half the width, distilled from the heatmaps of the one of full width (Xu et al. 2022).

Train the teacher first: python tools/train.py configs/hourglass/hourglass1_lsp_128.py
Run: python tools/train.py configs/hourglass/hourglass_half_lsp_128_distilled.py
PCK@0.2 on the LSP test set, person-centric: 43.46 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./hourglass_half_lsp_128.py']

model = dict(
    type='DistilledTopDown',
    teacher=dict(config='configs/hourglass/hourglass1_lsp_128.py', weights='work_dirs/hourglass1_lsp_128'),
    distill_loss=dict(type='MeanSquaredError', loss_weight=1000.0),
)
