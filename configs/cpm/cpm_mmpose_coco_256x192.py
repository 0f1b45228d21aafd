"""MMPose's CPM on COCO at 256x192: batch norm, no center map, two trunks (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_mmpose_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 62.7 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adam_210.py']

norm_cfg = dict(type='BN')
model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(192, 256), stride=8, sigma_px=16.0),
    backbone=dict(type='CPMTrunk', norm_cfg=norm_cfg, center_pooling=True),
    head=dict(
        type='CPMHead',
        first_layers=((5, 32), (9, 512), (1, 512)),
        heatmaps_first=True,
        center_map='none',
        norm_cfg=norm_cfg,
    ),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
