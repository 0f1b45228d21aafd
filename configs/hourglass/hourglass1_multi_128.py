"""One hourglass with a decoder each for LSP, COCO and the embedded set, trained together (Xu et al. 2022).

Data: python tools/dataset.py prepare synthetic --out data/synthetic
Run: python tools/train.py configs/hourglass/hourglass1_multi_128.py
Test another decoder: model.use=coco 'test_dataloader.dataset.sources=[dict(type="CocoSource",half="val")]'
PCK@0.2 on the LSP test set, person-centric: 51.77 (1,600 steps; docs/results.md)
"""

_base_ = ['./hourglass1_lsp_128.py']

skeleton = 'lsp+coco'
embedded = dict(type='LSPSource', root='data/synthetic', called='synthetic')
sources = [dict(type='LSPSource', half='train'), dict(type='LSPETSource'), dict(type='CocoSource', half='train')]
model = dict(
    _delete_=True,
    type='MultiTopDown',
    codec=dict(type='MSRAHeatmap', input_size=(128, 128), sigma=4.0),
    backbone=dict(type='Hourglass', stacks=1, channels=64),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', factor=1000.0),
    decoders=dict(
        lsp=dict(skeleton='lsp', sources=('lsp', 'lspet')),
        coco=dict(skeleton='coco', sources=('coco',)),
        synthetic=dict(skeleton='lsp', sources=('synthetic',)),
    ),
    flip_test=True,
    channels_last=True,
)
train_dataloader = dict(
    shares=dict(lsp=0.45, lspet=0.15, coco=0.2, synthetic=0.2),
    dataset=dict(sources=[*sources, dict(embedded, half='train')]),
)
train_cfg = dict(steps=1600)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=1600),
]
