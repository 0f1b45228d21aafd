"""One ViT-B with a decoder each for COCO, AI Challenger and MPII, trained together (Xu et al. 2022, arXiv:2204.12484).

Run: python tools/train.py configs/vitpose/vitpose_b_multi_256x192.py
AP on COCO val2017, flip test: not trained yet (published: AP 77.1 with boxes of person AP 56.4)
"""

_base_ = ['./vitpose_b_coco_256x192.py']

skeleton = 'coco+aic+mpii'
model = dict(
    type='MultiTopDown',
    decoders=dict(
        coco=dict(skeleton='coco', sources=('coco',)),
        aic=dict(skeleton='aic', sources=('aic',)),
        mpii=dict(skeleton='mpii', sources=('mpii',)),
    ),
)
box, by_scale = dict(type='PlaceBox', aligned=True), dict(type='PlaceByScale', reference=368 / 250, down=15)
training = [
    dict(type='PlaceBySource', rules=dict(coco=box, aic=box, mpii=by_scale)),
    dict(type='RandomHalfBody', aligned=True),
    dict(type='NormalScaleRotate', scale=0.5, degrees=40),
    dict(type='RandomFlip'),
    dict(type='Warp'),
]
sources = [dict(type=name, half='train') for name in ('CocoSource', 'AICSource', 'MPIISource')]
train_dataloader = dict(dataset=dict(sources=sources, pipeline=training))
val_evaluator = test_evaluator = dict(type='OnSkeleton', of='coco', metric=dict(type='OKSAP'))
