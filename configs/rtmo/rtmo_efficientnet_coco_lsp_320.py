"""RTMO on EfficientNet-Lite0 at 320 px, on mosaics of COCO, LSP and LSPET (Lu et al. 2023, arXiv:2312.07526).

Run: python tools/train.py configs/rtmo/rtmo_efficientnet_coco_lsp_320.py
AP on COCO val2017: not trained yet
"""

_base_ = ['../_base_/datasets/coco_mosaic.py', '../_base_/schedules/adamw.py']

init = dict(backbone='cpm_efficientnet_lsp')
freeze = [r'^backbone\.features\.[0-3]\.']
model = dict(
    type='OneStage',
    # As the backbone's weights expect.
    input_norm=dict(mean=(127, 127, 127), std=(128, 128, 128), channel_order='rgb'),
    codec=dict(type='DenseInstances', input_size=(320, 320)),
    backbone=dict(type='EfficientNetLite', size=0, out_strides=(8, 16, 32)),
    neck=dict(
        type='HybridEncoder',
        out_channels=128,
        hidden_dim=128,
        widen_factor=0.5,
        deepen_factor=0.33,
        feedforward_channels=256,
    ),
    head=dict(type='RTMOHead', pose_channels=96),
    channels_last=True,
)
part = dict(split='train_without_val')
sources = [dict(type='CocoSource', split='train'), dict(type='LSPSource', **part), dict(type='LSPETSource', **part)]
train_dataloader = dict(
    batch_size=16, num_workers=1, source_ratios=dict(coco=0.5, lsp=0.1, lspet=0.4), dataset=dict(sources=sources)
)
train_cfg = dict(max_epochs=None, max_steps=5000, val_interval=1000)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=10.0))
custom_hooks = [dict(type='EMAHook', momentum=0.001, update_buffers=True)]
precision = 'auto'
