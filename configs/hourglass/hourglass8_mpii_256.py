"""Eight stacked hourglasses on MPII at 256 px (Newell et al. 2016, arXiv:1603.06937).

Run: python tools/train.py configs/hourglass/hourglass8_mpii_256.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (published: 88.1; on the test set 90.9)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/hourglass.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(0, 0, 0), std=(255, 255, 255), channel_order='rgb'),
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=4.0, unlabeled='empty'),
    backbone=dict(type='HourglassStem'),
    head=dict(type='HourglassHead', num_stacks=8),
    flip_test=True,
)
steps = dict(
    affine=dict(rotate_prob=0.4, log2_scale=True),
    color=dict(type='RandomColor', contrast=0, brightness=0, channel_gain=0.4),
)
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=steps))
