"""RTMO of an eighth of the width, for the synthetic images of several people (Lu et al. 2023, arXiv:2312.07526).

Data: poseplug dataset prepare synthetic --format coco --out data/synthetic_people
Run: python tools/train.py configs/rtmo/rtmo_tiny_synthetic_256.py
AP on its 200 test images: 15.38 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/coco_one_stage.py', '../_base_/schedules/adamw_6000.py']

data_root = 'data/synthetic_people'
model = dict(
    type='OneStage',
    codec=dict(type='DenseInstances', input_size=(256, 256)),
    backbone=dict(type='CSPDarknet', widen_factor=0.25, deepen_factor=0.33),
    neck=dict(
        type='HybridEncoder',
        out_channels=96,
        hidden_dim=96,
        widen_factor=0.5,
        deepen_factor=0.33,
        feedforward_channels=192,
    ),
    head=dict(type='RTMOHead', pose_channels=64),
)
steps = dict(color=dict(type='RandomColor'))
train_sources = [dict(type='CocoSource', split='train', data_root=data_root, segmentations=True)]
val_sources = [dict(type='CocoSource', split='val', data_root=data_root, keep_empty=True)]
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(sources=train_sources, pipeline=steps))
test_dataloader = dict(batch_size=20, num_workers=1, dataset=dict(sources=val_sources))
val_dataloader = test_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=10.0))
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]
overfit_steps = 600
