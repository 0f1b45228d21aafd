"""SimpleBaseline with ResNet-50 on MPII at 256 px (Xiao et al. 2018, arXiv:1804.06208).

Run: python tools/train.py configs/simple_baseline/simple_baseline_r50_mpii_256.py
mean PCKh@0.5 on the MPII validation set, flip test: not trained yet (its paper has none for MPII)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/simple_baseline.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=8.0),
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='DeconvHead'),
    loss=dict(type='MeanSquaredError', loss_weight=0.5),
    flip_test=True,
)
train_dataloader = dict(batch_size=128)
