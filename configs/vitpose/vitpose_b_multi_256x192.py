"""One ViT-B with decoders for COCO, AI Challenger and MPII, trained together (Xu et al. 2022, arXiv:2204.12484).

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
crop_by_scale = dict(type='CropByScale', magnification_at_368=368 / 250, center_offset_y=15)
transforms = dict(coco=dict(type='CropBox'), aic=dict(type='CropBox'), mpii=crop_by_scale)
steps = dict(crop=dict(_delete_=True, type='TransformBySource', transforms=transforms))
sources = [dict(type=name, split='train') for name in ('CocoSource', 'AICSource', 'MPIISource')]
train_dataloader = dict(dataset=dict(sources=sources, pipeline=steps))
val_evaluator = test_evaluator = dict(type='OnSkeleton', target_skeleton='coco', metric=dict(type='OKSAP'))
