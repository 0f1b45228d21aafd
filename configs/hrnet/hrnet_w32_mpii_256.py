"""HRNet-W32 on MPII at 256 px (Sun et al. 2019, arXiv:1902.09212).

Run: python tools/train.py configs/hrnet/hrnet_w32_mpii_256.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (published: 90.3)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/hrnet.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=8.0),
    backbone=dict(type='HRNet', width=32),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', loss_weight=0.5),
    flip_test=True,
)
train_dataloader = dict(batch_size=128)
