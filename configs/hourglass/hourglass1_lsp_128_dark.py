"""One narrow hourglass with DARK's encoding and refinement on Leeds Sports Pose at 128 px (Zhang et al. 2020).

Run: python tools/train.py configs/hourglass/hourglass1_lsp_128_dark.py
PCK@0.2 on the LSP test set, person-centric: 60.23 (2,400 steps; docs/lab/results.md)
"""

_base_ = ['./hourglass1_lsp_128.py']

model = dict(codec=dict(type='DARKHeatmap'))
