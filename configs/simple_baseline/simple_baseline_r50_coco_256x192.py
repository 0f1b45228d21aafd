"""SimpleBaseline with ResNet-50 on COCO at 256x192 (Xiao et al. 2018, arXiv:1804.06208).

Run: python tools/train.py configs/simple_baseline/simple_baseline_r50_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published: AP 70.4 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/simple_baseline.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(192, 256), sigma_px=8.0),
    backbone=dict(type='ResNet', depth=50),
    head=dict(type='DeconvHead'),
    loss=dict(type='MeanSquaredError', loss_weight=0.5),
    flip_test=True,
)
train_dataloader = dict(batch_size=128)
