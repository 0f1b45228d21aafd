"""An hourglass of half the width, a student for distillation, on Leeds Sports Pose at 128 px.

Run: python tools/train.py configs/hourglass/hourglass_half_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: 42.73 (1,200 steps; docs/lab/results.md)
"""

_base_ = ['./hourglass1_lsp_128.py']

model = dict(backbone=dict(channels=32), head=dict(channels=32))
train_cfg = dict(max_steps=1200)
