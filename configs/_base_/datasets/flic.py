"""FLIC, observer-centric, with CPM's crops and augmentation (Wei et al. 2016)."""

_base_ = ['./lsp.py']

skeleton = 'flic'
test_sources = [dict(type='FLICSource', split='test')]
crop = dict(_delete_=True, type='CropByScale')
train_dataloader = dict(dataset=dict(sources=[dict(type='FLICSource', split='train')]))
val_dataloader = test_dataloader = dict(dataset=dict(sources=test_sources, pipeline=dict(crop=crop)))
