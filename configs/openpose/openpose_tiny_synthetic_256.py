"""Part affinity fields on one narrow hourglass, for the embedded pictures of several people (Cao et al. 2017).

Data: python tools/dataset.py prepare synthetic --format coco --out data/synthetic_people
Run: python tools/train.py configs/openpose/openpose_tiny_synthetic_256.py
AP on its 200 test pictures: 27.56 (docs/results.md)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/adamw_6000.py']

root = 'data/synthetic_people'
model = dict(
    type='BottomUp',
    codec=dict(type='PAF', input_size=(256, 256), stride=4, parser=dict(preset='lightweight')),
    backbone=dict(type='Hourglass', stacks=1, channels=64),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', factor=1000.0),
    channels_last=True,
)
picture = dict(type='PlacePicture', fill=1.0, side='longer')
training = [
    picture,
    dict(type='RandomScaleRotate', scale=(0.85, 1.2), degrees=10),
    dict(type='RandomShift', share=0.05),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp'),
]
testing = [picture, dict(type='Warp')]
sources = [dict(type='CocoSource', half='train', root=root, outlines=True)]
unseen = [dict(type='CocoSource', half='val', root=root, empty=True)]
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(sources=sources, pipeline=training, per='image'))
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(sources=unseen, pipeline=testing))
val_dataloader = test_dataloader
optim_wrapper = dict(optimizer=dict(lr=4e-3))
