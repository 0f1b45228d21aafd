"""Four stacked hourglasses with a tag per keypoint, on whole COCO images (Newell et al. 2017, arXiv:1611.05424).

The released network is wider inside its hourglasses, by 128 channels per level. A step has 32 images.
Run: python tools/train.py configs/associative_embedding/ae_hourglass4_coco_512.py
AP on COCO val2017, one scale, flip test: not trained yet
"""

_base_ = ['../_base_/datasets/coco_tags.py', '../_base_/schedules/hourglass.py']

model = dict(
    type='BottomUp',
    codec=dict(type='Tags', input_size=(512, 512)),
    backbone=dict(type='HourglassStem'),
    head=dict(type='HourglassHead', num_stacks=4),
    loss=dict(heatmap=dict(type='MeanSquaredError'), tags=dict(type='AssociativeEmbeddingLoss', loss_weight=1e-3)),
    flip_test=True,
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[100000 / 150000], gamma=0.05)]
train_cfg = dict(max_steps=150000)
