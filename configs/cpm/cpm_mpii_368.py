"""Six-stage CPM on MPII at 368 px (Wei et al. 2016, arXiv:1602.00134).

Run: python tools/train.py configs/cpm/cpm_mpii_368.py
mean PCKh@0.5 on the MPII validation set: not trained yet (published, on the test set: 87.95)
"""

_base_ = ['../_base_/datasets/mpii.py', '../_base_/schedules/cpm.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(128, 128, 128), std=(256, 256, 256), channel_order='bgr'),
    codec=dict(type='CPMHeatmap', input_size=(368, 368)),
    backbone=dict(type='CPMTrunk'),
    head=dict(type='CPMHead', num_stages=6),
    loss=dict(type='SumSquaredError'),
)
crop = dict(_delete_=True, type='CropByScale')
affine = dict(_delete_=True, type='RandomScaleRotate', scale_factor=(0.7, 1.3), degrees=40)
warp = dict(interpolation='cubic')
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=dict(crop=crop, affine=affine, warp=warp)))
test_steps = dict(crop=crop, warp=warp)
scales = dict(type='MultiScaleCrop', scales=(1.0, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_steps))
test_dataloader = dict(batch_size=8, dataset=dict(pipeline=dict(crop=crop, scales=scales, warp=warp)))
default_hooks = dict(checkpoint=dict(save_best='PCKh@0.5'))
