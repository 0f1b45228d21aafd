"""One hourglass with decoders for LSP, COCO and the synthetic data set, trained together (Xu et al. 2022).

Data: poseplug dataset prepare synthetic --out data/synthetic
Run: python tools/train.py configs/hourglass/hourglass1_multi_128.py
Test another decoder: model.active_decoder=coco
'test_dataloader.dataset.sources=[dict(type="CocoSource",split="val")]'
PCK@0.2 on the LSP test set, person-centric: 51.77 (1,600 steps; docs/lab/results.md)
"""

_base_ = ['./hourglass1_lsp_128.py']

skeleton = 'lsp+coco'
synthetic = dict(type='LSPSource', data_root='data/synthetic', source_name='synthetic')
sources = [dict(type='LSPSource', split='train'), dict(type='LSPETSource'), dict(type='CocoSource', split='train')]
model = dict(
    _delete_=True,
    type='MultiTopDown',
    codec=dict(type='MSRAHeatmap', input_size=(128, 128), sigma_px=4.0),
    backbone=dict(type='Hourglass', num_stacks=1, channels=64),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', loss_weight=1000.0),
    decoders=dict(
        lsp=dict(skeleton='lsp', sources=('lsp', 'lspet')),
        coco=dict(skeleton='coco', sources=('coco',)),
        synthetic=dict(skeleton='lsp', sources=('synthetic',)),
    ),
    flip_test=True,
    channels_last=True,
)
train_dataloader = dict(
    source_ratios=dict(lsp=0.45, lspet=0.15, coco=0.2, synthetic=0.2),
    dataset=dict(sources=[*sources, dict(synthetic, split='train')]),
)
train_cfg = dict(max_steps=1600)
