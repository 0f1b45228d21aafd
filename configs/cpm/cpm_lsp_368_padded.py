"""CPM at 368 px with the padded poolings of implementations in PyTorch, whose weights load by `poseplug convert`.

Run: python tools/train.py configs/cpm/cpm_lsp_368_padded.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['cpm_lsp_368.py']

model = dict(backbone=dict(center_pooling=True), head=dict(center_pooling=True))
