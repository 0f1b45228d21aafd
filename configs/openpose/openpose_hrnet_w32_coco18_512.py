"""HRNet-W32 with part affinity fields at stride 4, peaks refined by DARK, on whole COCO images at 512 px.

The rate is stated for 128 images a step; auto_scale_lr=dict(base_batch_size=128) scales it for others.
Run: python tools/train.py configs/openpose/openpose_hrnet_w32_coco18_512.py
AP on COCO val2017, one scale: not trained yet (no paper trains these parts together)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/hrnet.py']

dark_heatmap = dict(type='DARKHeatmap', background=True)
model = dict(
    type='BottomUp',
    codec=dict(type='PAF', input_size=(512, 512), stride=4, heatmap_codec=dark_heatmap, parser='merging'),
    backbone=dict(type='HRNet', width=32),
    head=dict(type='HeatmapHead'),
    loss=dict(type='SumSquaredError'),
)
train_dataloader = dict(batch_size=16)
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=dict(fit=dict(side='shorter'))))
