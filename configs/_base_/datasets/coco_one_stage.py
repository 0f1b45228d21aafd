"""COCO's whole pictures with everybody in them, for models that find people at cells (RTMO's pictures for testing)."""

skeleton = 'coco'
training = [
    dict(type='PlacePicture', fill=1.0, side='longer'),
    dict(type='RandomScaleRotate', scale=(0.75, 1.0), degrees=10),
    dict(type='RandomShift', share=0.1),
    dict(type='RandomFlip'),
    dict(type='MaskUnlabelled'),
    dict(type='Warp', fill=(114, 114, 114)),
]
testing = [dict(type='PlacePicture', fill=1.0, side='longer'), dict(type='Warp', fill=(114, 114, 114))]
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='train', outlines=True)],
        pipeline=training,
        per='image',
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='val', empty=True)],
        pipeline=testing,
        per='image',
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OKSAP')
