"""The synthetic data set in LSP's layout, with the weak augmentation of short trainings.

Made by `poseplug dataset prepare synthetic --out data/synthetic`.
"""

_base_ = ['./lsp.py']

data_root = 'data/synthetic'
letterbox = dict(type='LetterboxImage', fill_fraction=1.15, side='longer')
warp = dict(interpolation='linear')
affine = dict(scale_factor=(0.95, 1.05), degrees=8, shift_factor=0.01)
train_steps = dict(crop=dict(_delete_=True, **letterbox), affine=affine, warp=warp)
test_steps = dict(crop=letterbox, scales=None, warp=warp)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(sources=[dict(type='LSPSource', data_root=data_root, split='train')], pipeline=train_steps),
)
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(sources=[dict(type='LSPSource', data_root=data_root, split='test')], pipeline=test_steps),
)
val_dataloader = None
