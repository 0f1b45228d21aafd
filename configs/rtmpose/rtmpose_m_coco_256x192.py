"""RTMPose-m on COCO at 256x192 (Jiang et al. 2023, arXiv:2303.07399).

Its backbone starts from one trained on AI Challenger and COCO: init=dict(backbone=FILE). The published colour changes
are those of hue and saturation, with some blur; here it is contrast, brightness and gains.

Run: python tools/train.py configs/rtmpose/rtmpose_m_coco_256x192.py
AP on COCO val2017, flip test: not trained yet (published by MMPose: AP 74.6 with boxes of person AP 56.4)
"""

_base_ = ['../_base_/datasets/coco.py', '../_base_/schedules/rtmpose.py']

model = dict(
    type='TopDown',
    codec=dict(type='SimCC', input_size=(192, 256), sigma=(4.9, 5.66), normalize=False),
    backbone=dict(type='CSPNeXt', widen=0.75, deepen=0.67, out_strides=(32,)),
    head=dict(type='RTMCCHead'),
    loss=dict(type='KLDivergence', beta=10.0, softmax_labels=True),
    flip_test=True,
)
training = [
    dict(type='PlaceBox'),
    dict(type='RandomHalfBody'),
    dict(type='NormalScaleRotate', scale=0.4, degrees=40, shift=0.08),
    dict(type='RandomFlip'),
    dict(type='Warp'),
    dict(type='RandomColor'),
    dict(type='RandomErase', p=1.0, fill=(0, 0, 0)),
]
train_dataloader = dict(batch_size=1024, dataset=dict(pipeline=training))
