"""A student of half the width and two thirds of the depth, trained alone.

Run: python tools/train.py configs/vitpose/vit_mini_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['./vit_tiny_lsp_128.py']

model = dict(backbone=dict(dim=96, depth=4, heads=3), head=dict(deconvs=48))
