"""Leeds Sports Pose at about 128 px, for small networks: whole pictures, mild augmentation (as cpm_lsp_lite).

People of other sets that a config adds are placed by their box.
"""

_base_ = ['./lsp.py']

picture = dict(type='PlacePicture', fill=0.9, side='longer')
box = dict(type='PlaceBox', padding=1.11)
placing = dict(type='PlaceBySource', rules=dict(lsp=picture, lspet=box, coco=box, synthetic=box))
training = [
    placing,
    dict(type='RandomScaleRotate', scale=(0.7, 1.3), degrees=35, shift=0.03),
    dict(type='RandomFlip'),
    dict(type='Warp'),
    dict(type='RandomColor'),
]
testing = [placing, dict(type='Warp')]
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=training))
val_dataloader = None
test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=testing))
