"""ViTPose-B with the classic decoder on COCO at 256x192 (Xu et al. 2022, arXiv:2204.12484).

The published network starts from MAE's weights for ImageNet: give them by init.backbone=FILE.
For a step of 512 instances use eight processes of 64, or optim_wrapper.accumulative_counts=8.
Run: python tools/train.py configs/vitpose/vitpose_b_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published: AP 75.8 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/vitpose.py']

model = dict(
    type='TopDown',
    codec=dict(type='UDPHeatmap', input_size=(192, 256), sigma_px=8.0, blur_kernel_size=11),
    backbone=dict(type='ViT', arch='B'),
    head=dict(type='DeconvHead'),
    loss=dict(type='MeanSquaredError'),
    flip_test=True,
)
steps = dict(half_body=dict(type='RandomHalfBody'), affine=dict(scale_factor=0.5, degrees=40))
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=steps))
