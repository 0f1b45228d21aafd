"""Three-stage CPM on a small ResNet-34, on LSP and LSPET at 128 px: the last part of its training.

Starts from the first part: --init work_dirs/cpm_r34_lsp_96/best.pth
Run: python tools/train.py configs/cpm/cpm_r34_lsp.py
PCK@0.2 on the LSP test set, person-centric: not trained yet (docs/lab/results.md)
"""

_base_ = ['./cpm_r34_lsp_96.py']

model = dict(codec=dict(input_size=(128, 128)), head=dict(center_sigma_px=7.3))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_steps=30000)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=500),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=30000),
]
