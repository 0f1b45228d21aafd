"""COCO's whole pictures with everybody in them, about one of the people (Cao et al. 2017, arXiv:1611.08050).

The released BODY_25 example: training.1.scale=(1/3, 1.5) and training.1.degrees=45. Four scales at test time: a
dict(type='WholeScales', scales=(1.0, 0.5, 1.5, 2.0)) after PlaceWhole. Pictures of one shape each: test_dataloader has
batches of one.
"""

skeleton = 'coco18'
training = [
    dict(type='PlaceOnPerson', height=0.6),
    dict(type='RandomScaleRotate', scale=(0.5, 1.1), degrees=40),
    dict(type='RandomShift', share=40 / 368),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp'),
]
testing = [dict(type='PlaceWhole', side='height'), dict(type='Warp')]
train_dataloader = dict(
    batch_size=10,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='train', outlines=True)],
        pipeline=training,
        per='center',
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='val', empty=True)],
        pipeline=testing,
        per='image',
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OnSkeleton', of='coco', metric=dict(type='OKSAP'))
