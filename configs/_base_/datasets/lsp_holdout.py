"""Leeds Sports Pose and LSPET without 1,000 validation images, which decide what the test half would otherwise.

Strong augmentation: half bodies, images that end early, other people before the subject, blur, low resolution.
"""

_base_ = ['./lsp.py']

letterbox = dict(type='LetterboxImage', fill_fraction=0.9, side='longer')
crop_box = dict(type='CropBox', padding=1.11)
transforms = dict(lsp=letterbox, lspet=crop_box)
crop_by_source = dict(_delete_=True, type='TransformBySource', transforms=transforms)
steps = dict(crop=crop_by_source, warp=dict(interpolation='linear'))
random_steps = dict(
    half_body=dict(type='RandomHalfBody', prob=0.12),
    affine=dict(shift_factor=0.04),
    paste=dict(type='PasteInstance', prob=0.25),
    downscale=dict(type='RandomDownscale', prob=0.2, factor_range=(0.4, 0.9)),
    blur=dict(type='RandomBlur', prob=0.1, kernel_sizes=(3,)),
    color=dict(type='RandomColor', contrast=0.4, brightness=0.2),
    cut=dict(type='RandomCut', prob=0.15),
)
part = dict(split='train_without_val')
train_sources = [dict(type='LSPSource', **part), dict(type='LSPETSource', **part)]
val_sources = [dict(type='LSPSource', split='val'), dict(type='LSPETSource', split='val')]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    source_ratios=dict(lsp=0.25, lspet=0.75),
    dataset=dict(sources=train_sources, pipeline=dict(**steps, **random_steps)),
)
val_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(sources=val_sources, pipeline=dict(**steps)))
test_steps = dict(crop=letterbox, warp=dict(interpolation='linear'), scales=None)
test_dataloader = dict(batch_size=50, num_workers=1, dataset=dict(pipeline=test_steps))
