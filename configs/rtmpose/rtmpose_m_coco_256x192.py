"""RTMPose-m on COCO at 256x192 (Jiang et al. 2023, arXiv:2303.07399).

The backbone starts from weights trained on AI Challenger and COCO: init=dict(backbone=FILE). Augmentation is weaker in
the last 30 of 420 epochs.

Run: python tools/train.py configs/rtmpose/rtmpose_m_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 74.6 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/rtmpose.py']

model = dict(
    type='TopDown',
    codec=dict(type='SimCC', input_size=(192, 256), sigma=(4.9, 5.66), normalize=False),
    backbone=dict(type='CSPNeXt', widen_factor=0.75, deepen_factor=0.67, out_strides=(32,)),
    head=dict(type='RTMCCHead'),
    loss=dict(type='KLDivergence', beta=10.0, label_softmax=True),
    flip_test=True,
)
strong_affine = [dict(type='NormalScaleRotate', scale_factor=0.4, degrees=40, shift_factor=0.08)]
mild_affine = [dict(type='NormalScaleRotate', scale_factor=0.25, degrees=30)]
erasers = [dict(type='RandomErase', prob=p, fill=(0, 0, 0)) for p in (1.0, 0.5)]
switch = dict(type='PipelineSwitch', switch_epoch=390 / 420)
steps = dict(
    half_body=dict(type='RandomHalfBody'),
    affine=dict(_delete_=True, **switch, first_transforms=strong_affine, later_transforms=mild_affine),
    hsv=dict(type='RandomHSV'),
    blur=dict(type='RandomBlur', prob=0.1),
    median_blur=dict(type='RandomBlur', prob=0.1, method='median'),
    erase=dict(**switch, first_transforms=erasers[:1], later_transforms=erasers[1:]),
)
train_dataloader = dict(batch_size=1024, dataset=dict(pipeline=steps))
