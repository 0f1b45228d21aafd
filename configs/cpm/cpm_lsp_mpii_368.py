"""Six-stage CPM on LSP, its extension and MPII together, tested on LSP (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_lsp_mpii_368.py
PCK@0.2 on the LSP test set, person-centric: not trained yet (published: 90.5)
"""

_base_ = ['cpm_lsp_368.py']

sources = [dict(type='LSPSource', split='train'), dict(type='LSPETSource'), dict(type='MPIISource', split='train')]
train_dataloader = dict(dataset=dict(sources=sources))
