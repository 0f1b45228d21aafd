"""One narrow hourglass on Leeds Sports Pose at 128 px, small enough to train on a CPU (Newell et al. 2016).

Run: python tools/train.py configs/hourglass/hourglass1_lsp_128.py
PCK@0.2 on the LSP test set, person-centric: 59.65 (2,400 steps; docs/lab/results.md)
"""

_base_ = ['../_base_/datasets/lsp_128.py', '../_base_/schedules/adamw_2400.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(128, 128), sigma_px=4.0),
    backbone=dict(type='HourglassStem', channels=64),
    head=dict(type='HourglassHead', num_stacks=1, channels=64),
    loss=dict(type='MeanSquaredError', loss_weight=1000.0),
    flip_test=True,
    channels_last=True,
)
