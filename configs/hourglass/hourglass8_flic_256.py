"""Eight stacked hourglasses on FLIC at 256 px (Newell et al. 2016, arXiv:1603.06937, section 4.1).

Crops are as high as the image and centered on the torso box along x, without a change of scale or height at the test.
Run: python tools/train.py configs/hourglass/hourglass8_flic_256.py
PCK@0.2 on the FLIC test set, observer-centric: not trained yet (published: elbow 99.0, wrist 97.0)
"""

_base_ = ['../_base_/datasets/flic.py', '../_base_/schedules/hourglass.py']

model = dict(
    type='TopDown',
    input_norm=dict(mean=(0, 0, 0), std=(255, 255, 255), channel_order='rgb'),
    codec=dict(type='MSRAHeatmap', input_size=(256, 256), sigma_px=4.0, unlabeled='empty'),
    backbone=dict(type='HourglassStem'),
    head=dict(type='HourglassHead', num_stacks=8),
    flip_test=True,
)
crop = dict(_delete_=True, type='CropFullHeight')
affine = dict(scale_factor=(0.75, 1.25), degrees=30)
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=dict(crop=crop, affine=affine)))
val_dataloader = dict(dataset=dict(pipeline=dict(crop=crop)))
test_dataloader = dict(dataset=dict(pipeline=dict(crop=crop, scales=None)))
