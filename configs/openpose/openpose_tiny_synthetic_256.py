"""Part affinity fields on one narrow hourglass, for the synthetic images of several people (Cao et al. 2017).

Data: poseplug dataset prepare synthetic --format coco --out data/synthetic_people
Run: python tools/train.py configs/openpose/openpose_tiny_synthetic_256.py
AP on its 200 test images: 27.56 (docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/adamw_6000.py']

data_root = 'data/synthetic_people'
model = dict(
    type='BottomUp',
    codec=dict(type='PAF', input_size=(256, 256), stride=4, parser=dict(preset='merging')),
    backbone=dict(type='Hourglass', num_stacks=1, channels=64),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', loss_weight=1000.0),
    channels_last=True,
)
letterbox = dict(_delete_=True, type='LetterboxImage', fill_fraction=1.0, side='longer')
affine = dict(scale_factor=(0.85, 1.2), degrees=10)
train_steps = dict(fit=letterbox, affine=affine, shift=dict(shift_factor=0.05))
train_sources = [dict(type='CocoSource', split='train', data_root=data_root, segmentations=True)]
val_sources = [dict(type='CocoSource', split='val', data_root=data_root, keep_empty=True)]
train_dataloader = dict(
    batch_size=16, num_workers=1, dataset=dict(sources=train_sources, pipeline=train_steps, data_mode='bottomup')
)
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(sources=val_sources, pipeline=dict(fit=letterbox)))
val_dataloader = test_dataloader
optim_wrapper = dict(optimizer=dict(lr=4e-3))
