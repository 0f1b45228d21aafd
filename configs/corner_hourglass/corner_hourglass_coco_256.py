"""CornerNet's hourglass, which MMPose calls Hourglass-52, on COCO at 256 px (Law and Deng 2018, arXiv:1808.01244).

Run: python tools/train.py configs/corner_hourglass/corner_hourglass_coco_256.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 72.6 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adam_210.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=8.0),
    backbone=dict(type='CornerHourglass'),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
