"""Leeds Sports Pose at about 128 px, for small networks: whole images, mild augmentation (as cpm_lsp_lite).

Instances of other data sets that a config adds are cropped by their box.
"""

_base_ = ['./lsp.py']

letterbox = dict(type='LetterboxImage', fill_fraction=0.9, side='longer')
crop_box = dict(type='CropBox', padding=1.11)
crop_by_source = dict(
    type='TransformBySource', transforms=dict(lsp=letterbox, lspet=crop_box, coco=crop_box, synthetic=crop_box)
)
train_pipeline = [
    crop_by_source,
    dict(type='RandomScaleRotate', scale_factor=(0.7, 1.3), degrees=35, shift_factor=0.03),
    dict(type='RandomFlip'),
    dict(type='Warp'),
    dict(type='RandomColor'),
]
test_pipeline = [crop_by_source, dict(type='Warp')]
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = None
test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=test_pipeline))
