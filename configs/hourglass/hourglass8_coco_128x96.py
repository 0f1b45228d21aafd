"""Eight stacked hourglasses on COCO at 128x96 (Zhang et al. 2020, arXiv:1910.06278).

Run: python tools/train.py configs/hourglass/hourglass8_coco_128x96.py
AP on COCO val2017, flip test: not trained yet (published: AP 67.6 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/simple_baseline.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(96, 128), sigma_px=4.0),
    backbone=dict(type='HourglassStem'),
    head=dict(type='HourglassHead', num_stacks=8),
    loss=dict(type='MeanSquaredError', loss_weight=0.5),
    flip_test=True,
)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
train_dataloader = dict(batch_size=8)
