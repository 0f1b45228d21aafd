"""RTMPose-m on COCO at 256x192 (Jiang et al. 2023, arXiv:2303.07399).

Its backbone starts from one trained on AI Challenger and COCO: init=dict(backbone=FILE). The pictures change less in
the last 30 of 420 epochs.

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
strong = [dict(type='NormalScaleRotate', scale=0.4, degrees=40, shift=0.08)]
mild = [dict(type='NormalScaleRotate', scale=0.25, degrees=30)]
holes = [dict(type='RandomErase', p=p, fill=(0, 0, 0)) for p in (1.0, 0.5)]
training = [
    dict(type='PlaceBox'),
    dict(type='RandomHalfBody'),
    dict(type='Until', epoch=390, transforms=strong, then=mild),
    dict(type='RandomFlip'),
    dict(type='Warp'),
    dict(type='RandomHSV'),
    dict(type='RandomBlur', p=0.1),
    dict(type='RandomBlur', p=0.1, by='median'),
    dict(type='Until', epoch=390, transforms=holes[:1], then=holes[1:]),
]
train_dataloader = dict(batch_size=1024, dataset=dict(pipeline=training))
