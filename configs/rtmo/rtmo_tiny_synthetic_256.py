"""RTMO narrowed to an eighth, for the embedded pictures of several people (Lu et al. 2023, arXiv:2312.07526).

Data: python tools/dataset.py prepare synthetic --format coco --out data/synthetic_people
Run: python tools/train.py configs/rtmo/rtmo_tiny_synthetic_256.py
AP on its 200 test pictures: 15.38 (docs/results.md)
"""

_base_ = ['../_base_/datasets/coco_one_stage.py', '../_base_/schedules/adamw_6000.py']

root = 'data/synthetic_people'
model = dict(
    type='OneStage',
    codec=dict(type='People', input_size=(256, 256)),
    backbone=dict(type='CSPDarknet', widen=0.25, deepen=0.33),
    neck=dict(type='HybridEncoder', out=96, channels=96, widen=0.5, deepen=0.33, feedforward=192),
    head=dict(type='RTMOHead', width=64),
)
training = [
    dict(type='PlacePicture', fill=1.0, side='longer'),
    dict(type='RandomScaleRotate', scale=(0.75, 1.0), degrees=10),
    dict(type='RandomShift', share=0.1),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp', fill=(114, 114, 114)),
    dict(type='RandomColor'),
]
sources = [dict(type='CocoSource', half='train', root=root, outlines=True)]
unseen = [dict(type='CocoSource', half='val', root=root, empty=True)]
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(sources=sources, pipeline=training))
test_dataloader = dict(batch_size=20, num_workers=1, dataset=dict(sources=unseen))
val_dataloader = test_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=10.0))
custom_hooks = [dict(type='EMAHook', momentum=0.005, update_buffers=True)]
overfit_steps = 600
