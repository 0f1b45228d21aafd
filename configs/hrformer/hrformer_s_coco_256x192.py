"""HRFormer-small on COCO at 256x192 (Yuan et al. 2021, arXiv:2110.09408).

Run: python tools/train.py configs/hrformer/hrformer_s_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 73.8 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(192, 256), sigma_px=8.0),
    backbone=dict(type='HRFormer'),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.01))
