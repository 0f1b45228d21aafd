"""Six-stage CPM on Leeds Sports Pose at 368 px (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_lsp_368.py
PCK@0.2 on the LSP test set, person-centric: not trained yet (published: 84.32 with 11,000 images)
"""

_base_ = ['../_base_/datasets/lsp.py', '../_base_/schedules/cpm.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(256, 256, 256), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(368, 368)),
    backbone=dict(type='CPMTrunk'),
    head=dict(type='CPMHead', num_stages=6),
    loss=dict(type='SumSquaredError'),
)
