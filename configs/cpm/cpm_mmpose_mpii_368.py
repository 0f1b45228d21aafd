"""MMPose's CPM on MPII at 368 px (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_mmpose_mpii_368.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (published by MMPose: 87.6)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/adam_210.py']

norm_cfg = dict(type='BN')
model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(368, 368), stride=8, sigma_px=16.0),
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
