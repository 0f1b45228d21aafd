"""An hourglass of half the width, a student for distillation, on Leeds Sports Pose at 128 px.

Run: python tools/train.py configs/hourglass/hourglass_half_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['./hourglass1_lsp_128.py']

model = dict(backbone=dict(channels=32), head=dict(channels=32))
