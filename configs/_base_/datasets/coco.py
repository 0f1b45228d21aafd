"""COCO people in boxes enlarged 1.25 times, with SimpleBaseline's augmentation (Xiao et al. 2018).

Boxes are the annotated ones; published scores use a detector's: test_dataloader.dataset.sources.0.bbox_file=FILE.
"""

skeleton = 'coco'
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='train')],
        pipeline=dict(
            crop=dict(type='CropBox'),
            half_body=None,
            affine=dict(type='NormalScaleRotate', scale_factor=0.3, degrees=40),
            flip=dict(type='RandomFlip'),
            warp=dict(type='Warp'),
        ),
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    dataset=dict(
        type='PoseDataset',
        sources=[dict(type='CocoSource', split='val')],
        pipeline=dict(crop=dict(type='CropBox'), warp=dict(type='Warp')),
        image_cache_size=1,
    ),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='OKSAP')
