"""Four-stage CPM for the nine upper-body keypoints of FLIC at 368 px (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_flic_368.py
PCK@0.2 on the FLIC test set, observer-centric: not trained yet (published: elbow 97.59, wrist 95.03)
"""

_base_ = ['../_base_/datasets/flic.py', '../_base_/schedules/cpm.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(256, 256, 256), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(368, 368)),
    backbone=dict(type='CPMTrunk'),
    head=dict(type='CPMHead', num_stages=4),
    loss=dict(type='SumSquaredError'),
)
