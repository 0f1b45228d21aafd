"""Six-stage CPM on the observer-centric labels of Leeds Sports Pose, at 368 px (Wei et al. 2016, arXiv:1602.00134).

The labels are another joints.mat in the folder lsp_observer beside lsp, with the same images. LSPET has none.
Run: python tools/train.py configs/cpm/cpm_lsp_368_observer.py
PCK@0.2 on the LSP test set, observer-centric: not trained yet (not to be compared with person-centric scores)
"""

_base_ = ['./cpm_lsp_368.py']

skeleton = 'lsp_observer'
observer_source = dict(type='LSPSource', label_centric='observer')
train_dataloader = dict(dataset=dict(sources=[dict(observer_source, split='train')]))
val_dataloader = test_dataloader = dict(dataset=dict(sources=[dict(observer_source, split='test')]))
