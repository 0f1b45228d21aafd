"""CornerNet's hourglass, which MMPose calls Hourglass-52, on MPII at 256 px (Law and Deng 2018, arXiv:1808.01244).

Run: python tools/train.py configs/corner_hourglass/corner_hourglass_mpii_256.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (published by MMPose: 88.9)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=8.0),
    backbone=dict(type='CornerHourglass'),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
