"""One narrow hourglass on COCO at 128 px, small enough to train on a CPU (Newell et al. 2016, arXiv:1603.06937).

Run: python tools/train.py configs/hourglass/hourglass1_coco_128.py
AP on COCO val2017, flip test: not trained yet
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/adamw_6000.py']

model = dict(
    type='TopDown',
    codec=dict(type='DARKHeatmap', input_size=(128, 128), sigma_px=6.0),
    backbone=dict(type='HourglassStem', channels=48),
    head=dict(type='HourglassHead', num_stacks=1, channels=48),
    loss=dict(type='MeanSquaredError', loss_weight=1000.0),
    flip_test=True,
    channels_last=True,
)
train_dataloader = dict(batch_size=16)
