"""HRNet-W32 on COCO at 256x192 (Sun et al. 2019, arXiv:1902.09212).

Run: python tools/train.py configs/hrnet/hrnet_w32_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published: AP 74.4 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/hrnet.py']

model = dict(
    type='TopDown',
    codec=dict(type='MSRAHeatmap', input_size=(192, 256), sigma_px=8.0),
    backbone=dict(type='HRNet', width=32),
    head=dict(type='HeatmapHead'),
    loss=dict(type='MeanSquaredError', loss_weight=0.5),
    flip_test=True,
)
steps = dict(half_body=dict(type='RandomHalfBody'), affine=dict(scale_factor=0.35, degrees=45))
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=steps))
