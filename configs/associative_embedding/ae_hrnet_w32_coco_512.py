"""HRNet-W32 with a tag per keypoint, on whole COCO images (the baseline in Cheng et al. 2020, arXiv:1908.10357).

The rate is stated for 192 images a step; auto_scale_lr=dict(base_batch_size=192) scales it for others.
Run: python tools/train.py configs/associative_embedding/ae_hrnet_w32_coco_512.py
AP on COCO val2017, one scale, flip test: not trained yet
"""

_base_ = ['../_base_/datasets/coco_tags.py', '../_base_/schedules/hrnet.py']

model = dict(
    type='BottomUp',
    codec=dict(type='Tags', input_size=(512, 512), heatmap_codec=dict(type='MSRAHeatmap')),
    backbone=dict(type='HRNet', width=32),
    head=dict(type='HeatmapHead'),
    loss=dict(heatmap=dict(type='MeanSquaredError'), tags=dict(type='AssociativeEmbeddingLoss', loss_weight=1e-3)),
    flip_test=True,
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [dict(type='MultiStepLR', milestones=[200 / 300, 260 / 300], gamma=0.1)]
train_cfg = dict(max_epochs=300)
