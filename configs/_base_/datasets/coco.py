"""COCO people in boxes 1.25 times as large, with SimpleBaseline's augmentation (Xiao et al. 2018).

Boxes are the annotated ones; published scores use a detector's: test_dataloader.dataset.sources.0.boxes=FILE.
"""

skeleton = 'coco'
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='train')],
        pipeline=[
            dict(type='PlaceBox'),
            dict(type='NormalScaleRotate', scale=0.3, degrees=40),
            dict(type='RandomFlip'),
            dict(type='Warp'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', half='val')],
        pipeline=[dict(type='PlaceBox'), dict(type='Warp')],
        keep=1,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OKSAP')
