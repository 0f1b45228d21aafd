"""HRNet-W32 with part affinity fields at stride 4, peaks placed as by DARK, on whole pictures of COCO at 512 px.

The rate is stated for 128 pictures a step; auto_scale_lr=dict(base_batch_size=128) scales it for others.
Run: python tools/train.py configs/openpose/openpose_hrnet_w32_coco18_512.py
AP on COCO val2017, one scale: not trained yet (no paper trains these parts together)
"""

_base_ = ['../_base_/datasets/coco_bottom_up.py', '../_base_/schedules/hrnet.py']

dark = dict(type='DARKHeatmap', background=True)
model = dict(
    type='BottomUp',
    codec=dict(type='PAF', input_size=(512, 512), stride=4, peaks=dark, parser='lightweight'),
    backbone=dict(type='HRNet', width=32),
    head=dict(type='HeatmapHead'),
    loss=dict(type='SumSquaredError'),
)
testing = [dict(type='PlaceWhole', side='shorter'), dict(type='Warp')]
train_dataloader = dict(batch_size=16)
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=testing))
