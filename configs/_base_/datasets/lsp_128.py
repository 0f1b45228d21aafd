"""Leeds Sports Pose at about 128 px, for small networks: whole images, mild augmentation (as cpm_lsp_lite).

Instances of other data sets that a config adds are cropped by their box.
"""

_base_ = ['./lsp.py']

letterbox = dict(type='LetterboxImage', fill_fraction=0.9, side='longer')
crop_box = dict(type='CropBox', padding=1.11)
transforms = dict(lsp=letterbox, lspet=crop_box, coco=crop_box, synthetic=crop_box)
crop_by_source = dict(_delete_=True, type='TransformBySource', transforms=transforms)
steps = dict(crop=crop_by_source, warp=dict(interpolation='linear'))
random_steps = dict(affine=dict(degrees=35, shift_factor=0.03), color=dict(type='RandomColor'))
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=dict(**steps, **random_steps)))
val_dataloader = None
test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=dict(**steps, scales=None)))
