"""Three-stage CPM on a small ResNet-34, on LSP and LSPET at 96 px: the long first part of its training.

Run: python tools/train.py configs/cpm/cpm_r34_lsp_96.py
The learning rate stays constant, so that the run may be ended at any step; cpm_r34_lsp.py goes on from its weights.
PCK@0.2 on the LSP test set, person-centric: not trained yet (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/lsp_holdout.py', '../_base_/schedules/adamw.py', '../_base_/models/cpm_r34.py']

part = dict(split='train_without_val')
coco = dict(type='CocoSource', split='train')
model = dict(codec=dict(input_size=(96, 96)), head=dict(center_sigma_px=5.5))
train_dataloader = dict(
    source_ratios=dict(lsp=0.25, lspet=0.72, coco=0.03),
    dataset=dict(
        sources=[dict(type='LSPSource', **part), dict(type='LSPETSource', **part), coco],
        pipeline=dict(crop=dict(transforms=dict(coco=dict(type='CropBox', padding=1.11)))),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
train_cfg = dict(_delete_=True, max_steps=100000, val_interval=1000)
param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=500)]
custom_hooks = [dict(type='EMAHook', momentum=0.0005, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval=1000, save_best='PCK@0.2'))
