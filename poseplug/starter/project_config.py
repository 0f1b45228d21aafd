"""The text of the config of a project."""

from __future__ import annotations

__all__ = ['CONFIG_FILE', 'SKELETON_FILE', 'format_project_config']

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from poseplug.data.formats.label_skeleton import LabelSkeleton
from poseplug.starter.run_plan import RunPlan

CONFIG_FILE = 'config.py'
SKELETON_FILE = 'skeleton.json'
NUM_INTERVALS = 10  # evaluations and checkpoints of a run
_AVERAGED_FRACTION = 0.05  # of the run, by the average of the weights
_WARM_UP_FRACTION = 0.05
_MAX_COLUMNS = 110

_TEMPLATE = '''"""{title}

Train: poseplug train {config} --work-dir {run}
"""

_base_ = ['poseplug::{base}']

data_root = '{{{{ fileDirname }}}}'
image_folder = {image_folder!r}
skeleton = {skeleton!r}
source = dict(type='CocoSource', data_root=data_root, image_folder=image_folder, skeleton={source_skeleton!r})
train_sources = [dict(source, ann_file='annotations/train.json')]
val_sources = [dict(source, ann_file='annotations/val.json')]
{test_sources}{init}{model}{box}steps = dict(half_body=None{crop}{no_flip})
train_data = dict(sources=train_sources, pipeline=steps)
train_dataloader = dict({ratios}batch_size={batch_size}, num_workers=2, dataset=train_data)
val_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(sources=val_sources{val_steps}))
test_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(sources={test_name}{test_steps}))
val_evaluator = test_evaluator = [dict(type='OKSAP'), dict(type='PCK', normalizer='box', thresholds=(0.05, 0.1))]

# The length of the run; schedule, average, evaluations and checkpoints are fractions of it.
train_cfg = dict(max_epochs=None, max_steps={max_steps}, val_interval={interval})
optim_wrapper = dict(optimizer=dict(lr={lr:.3g}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end={warm_up}),
    dict(type='CosineAnnealingLR', begin=0, end=1.0),
]
custom_hooks = [dict(type='EMAHook', run_fraction={averaged}, update_buffers=True)]
default_hooks = dict(checkpoint=dict(type='SaveHook', interval={interval}, save_best='AP'))
'''


def format_project_config(
    title: str, folder: Path, image_folder: str, skeleton: LabelSkeleton, plan: RunPlan, has_test: bool
) -> str:
    """Format the config of a project, a base and what differs from it.

    Args:
        title: first line of its docstring.
        folder: of the project.
        image_folder: of the images, absolute or below the project.
        skeleton: of the labels.
        plan: model, batches and length.
        has_test: whether there is a part for tests beside the one for validation.

    Returns:
        Python, of less than 40 lines.
    """
    is_flippable = bool(skeleton.skeleton.flip_pairs)
    codec = {} if plan.input_size is None else {'model.codec.input_size': plan.input_size}
    flip_test = {} if is_flippable else {'model.flip_test': False}
    changes = _nest_settings({**plan.overrides, **codec, **flip_test}).get('model', {})
    init = f'init = {plan.published_name!r}  # its layers; the last ones start anew for other keypoints\n'
    return _TEMPLATE.format(
        title='\n'.join(wrap(title, _MAX_COLUMNS)),
        config=(folder / CONFIG_FILE).as_posix(),
        run=(folder / 'run').as_posix(),
        base=plan.config,
        image_folder=image_folder,
        skeleton=skeleton.registered_name or SKELETON_FILE,
        source_skeleton=skeleton.registered_name or 'file',
        test_sources="test_sources = [dict(source, ann_file='annotations/test.json')]\n" if has_test else '',
        test_name='test_sources' if has_test else 'val_sources',
        init=init if plan.published_name else '',
        model=_format_model(changes) if changes else '',
        no_flip='' if is_flippable else ', flip=None',
        **_format_crops(plan.replaces_crop),
        ratios='source_ratios=None, ' if plan.replaces_ratios else '',
        batch_size=plan.batch_size,
        max_steps=plan.max_steps,
        interval=1 / NUM_INTERVALS,
        lr=plan.lr,
        warm_up=_WARM_UP_FRACTION,
        averaged=_AVERAGED_FRACTION,
    )


def _format_crops(replaces_crop: bool) -> dict[str, str]:
    """The crops by boxes instead of those of the base, in the places of the template that are for them."""
    if not replaces_crop:
        return dict(box='', crop='', val_steps='', test_steps='')
    return dict(
        box="box = dict(_delete_=True, type='CropBox')  # instead of the crop of the base\n",
        crop=', crop=box',
        val_steps=', pipeline=dict(crop=box)',
        test_steps=', pipeline=dict(crop=box, scales=None)',
    )


def _nest_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted keys as dicts in dicts."""
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, name = key.split('.')
        target = nested
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value
    return nested


def _format_model(changes: Mapping[str, Any]) -> str:
    """The setting `model`, on one line or on a line for each of its parts."""
    line = f'model = {_format_dict(changes)}\n'
    if len(line) <= _MAX_COLUMNS:
        return line
    parts = ''.join(f'    {key}={_format_dict(value)},\n' for key, value in changes.items())
    return f'model = dict(\n{parts})\n'


def _format_dict(value: object) -> str:
    """A dict as configs write it."""
    if not isinstance(value, dict):
        return repr(value)
    settings = ', '.join(f'{key}={_format_dict(item)}' for key, item in value.items())
    return f'dict({settings})'
