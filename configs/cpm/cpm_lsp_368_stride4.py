"""Six-stage CPM with one pooling less, at stride 4 (Wei et al. 2016, section 3.2.2: as good as stride 8).

Run: python tools/train.py configs/cpm/cpm_lsp_368_stride4.py
PCK@0.2 on the LSP test set, person-centric: not trained yet
"""

_base_ = ['cpm_lsp_368.py']

first_layers = ((9, 128), (5, 32), (9, 512, 0.5), (1, 512, 0.5))
model = dict(
    codec=dict(stride=4),
    backbone=dict(channels=(128, 128), kernel_sizes=(9, 9)),
    head=dict(first_layers=first_layers, image_layers=((9, 128), (5, 32))),
)
