"""Checks of a config: which registry builds which key, and every setting that does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry as MMEngineRegistry

from poseplug.config.locations import KeyPath, find_used_names, list_config_files
from poseplug.core.errors import ConfigError, PluginError, compose_message, suggest_closest
from poseplug.registry import (
    CODECS,
    DATASETS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    SOURCES,
    TRANSFORMS,
    Registry,
)
from poseplug.registry.registries import (
    PartType,
    describe_unknown_part,
    find_argument_errors,
    find_registered_part,
)


class PartKind(NamedTuple):
    """The parts below a key of a config.

    Attributes:
        registry: builds them.
        provided: names of the arguments that other parts provide.
        external_settings: settings in the same dict that are not for the part's constructor.
        default_type: the part of a dict without `type`; None: such a dict is not a part.
    """

    registry: MMEngineRegistry
    provided: tuple[str, ...] = ()
    external_settings: tuple[str, ...] = ()
    default_type: str | None = None


PART_KINDS = {
    'model': PartKind(MODELS, ('skeleton',)),
    'backbone': PartKind(MODELS, ('input_size',)),
    'neck': PartKind(MODELS, ('in_channels', 'strides')),
    'head': PartKind(MODELS, ('in_channels', 'strides', 'fields', 'stride', 'shapes', 'input_size', 'aligned')),
    'loss': PartKind(MODELS, ('sigmas',)),
    'assigner': PartKind(MODELS, ('sigmas',)),
    'codec': PartKind(CODECS, ('skeleton',)),
    'heatmap_codec': PartKind(CODECS, ('skeleton', 'input_size', 'stride', 'instances')),
    'dataset': PartKind(DATASETS, ('skeleton', 'input_size', 'seed')),
    'sources': PartKind(SOURCES),
    'pipeline': PartKind(TRANSFORMS, ('input_size',)),
    'val_evaluator': PartKind(METRICS, ('skeleton',)),
    'test_evaluator': PartKind(METRICS, ('skeleton',)),
}
_DATALOADER_KEYS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_CORE_KEYS = ('model', *_DATALOADER_KEYS, 'val_evaluator', 'test_evaluator')
TRAINING_KEYS = ('train_cfg', 'optim_wrapper', 'param_scheduler', 'default_hooks', 'custom_hooks')
_TRAINING_SWITCHES = ('init', 'freeze', 'compile', 'auto_scale_lr')
KNOWN_KEYS = {*_CORE_KEYS, *TRAINING_KEYS, *_TRAINING_SWITCHES, 'skeleton', 'seed', 'overfit_steps', 'custom_imports'}
_DATALOADER_SETTINGS = ('batch_size', 'num_workers', 'source_ratios', 'dataset')
_INPUT_NORM_SETTINGS = ('mean', 'std', 'channel_order')


@cache
def get_training_part_kinds() -> dict[str, PartKind]:
    """Return the kinds of part that only training builds, by key.

    The training engine is imported, which checking the other keys does not need.
    """
    from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS

    import poseplug.engine.schedules  # noqa: F401 - registers ours

    return {
        'train_cfg': PartKind(LOOPS, ('runner', 'dataloader'), default_type='TrainLoop'),
        'optim_wrapper': PartKind(OPTIM_WRAPPERS, ('optimizer',), ('constructor', 'paramwise_cfg', 'optimizer')),
        'optimizer': PartKind(OPTIMIZERS, ('params',)),
        'param_scheduler': PartKind(
            PARAM_SCHEDULERS, ('optimizer', 'param_name'), ('convert_to_iter_based', 'epoch_length')
        ),
        'default_hooks': PartKind(HOOKS, (), ('priority',)),
        'custom_hooks': PartKind(HOOKS, (), ('priority',)),
    }


def find_config_errors(cfg: Config, training: bool = False) -> Iterator[tuple[KeyPath, str]]:
    """Find every error in a config.

    Args:
        cfg: the loaded config.
        training: check the parts of the training engine (hooks, optimizer, schedules) too.

    Yields:
        Key path and message of each error. The settings below a wrong key are not checked.
    """
    yield from _find_unread_keys(cfg)
    yield from _find_dataloader_errors(cfg)
    yield from _find_dict_errors(cfg)
    yield from _find_skeleton_errors(cfg.get('skeleton'))
    if not isinstance(cfg.get('seed', 0), int):
        yield ('seed',), f'seed is a whole number; got {cfg.seed!r}'
    constructor = get_setting(cfg, ['optim_wrapper', 'constructor'])
    if training and constructor and find_part_type(OPTIM_WRAPPER_CONSTRUCTORS, constructor) is None:
        yield ('optim_wrapper', 'constructor'), describe_missing_part(OPTIM_WRAPPER_CONSTRUCTORS, constructor)
    part_kinds = {**PART_KINDS, **get_training_part_kinds()} if training else PART_KINDS
    wrong_keys: list[KeyPath] = []
    for path, spec, kind in iter_parts(cfg, part_kinds):
        if not any(path[: len(key)] == key for key in wrong_keys):
            errors = list(_find_part_errors(path, spec, kind))
            wrong_keys += [key for key, _ in errors if key != path]
            yield from errors


def _find_dataloader_errors(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Unknown settings of dataloaders, and data sets for tests that may skip images."""
    for key in _DATALOADER_KEYS:
        yield from _find_unknown_keys((key,), cfg.get(key), _DATALOADER_SETTINGS, 'a loader has')
    for key in ('val_dataloader', 'test_dataloader'):
        if get_setting(cfg, [key, 'dataset', 'max_skipped']):
            yield (
                (key, 'dataset', 'max_skipped'),
                'an image left out of a test would be missing from its results; leave max_skipped=0',
            )


def _find_dict_errors(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Unknown settings of dicts that no registry builds."""
    input_norm = get_setting(cfg.get('model'), ['input_norm'])
    yield from _find_unknown_keys(('model', 'input_norm'), input_norm, _INPUT_NORM_SETTINGS, 'input_norm has')
    auto_scale_lr = cfg.get('auto_scale_lr')
    yield from _find_unknown_keys(('auto_scale_lr',), auto_scale_lr, ('base_batch_size',), 'auto_scale_lr has')


def _find_unread_keys(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Top-level keys that are close to a known one: any other unknown key is a variable of the config."""
    files = list_config_files(Path(cfg.filename)) if cfg.filename else []
    used = {name for file in files for name in find_used_names(file)}
    for key in set(cfg) - KNOWN_KEYS - used:
        hint = suggest_closest(key, KNOWN_KEYS, cutoff=0.8)
        if hint:
            yield (key,), f'nothing reads {key!r}; {hint}'


def _find_unknown_keys(path: KeyPath, spec: Any, known: Sequence[str], subject: str) -> Iterator[tuple[KeyPath, str]]:
    """Keys of a plain dict that are not known; `subject` begins the message, such as 'a loader has'."""
    for key in spec if isinstance(spec, Mapping) else ():
        if key not in known:
            hint = suggest_closest(key, known)
            yield (*path, key), compose_message(f'{subject} no setting {key!r}', hint, f'known: {", ".join(known)}')


def _find_skeleton_errors(spec: Any) -> Iterator[tuple[KeyPath, str]]:
    """The error of a skeleton that cannot be built."""
    from poseplug.registry.skeletons import get_skeleton

    try:
        if spec is not None:
            get_skeleton(spec)
    except ConfigError as error:
        yield ('skeleton',), str(error)


def _find_part_errors(path: KeyPath, spec: Mapping[str, Any], kind: PartKind) -> Iterator[tuple[KeyPath, str]]:
    """The errors in the type and the settings of one part."""
    name = spec.get('type', kind.default_type)
    try:
        part = find_part_type(kind.registry, name)
    except PluginError as error:
        yield (*path, 'type'), str(error)
        return
    if part is None:
        yield (*path, 'type'), describe_missing_part(kind.registry, name)
        return
    for key in PART_KINDS:
        if isinstance(spec.get(key), str | int | float):
            yield (*path, key), f"a {key} is written as dict(type='Name', ...); got {spec[key]!r}"
    settings = {k: v for k, v in spec.items() if k != 'type' and k not in kind.external_settings}
    part_name = name if isinstance(name, str) else name.__name__
    for key, message in find_argument_errors(part, part_name, settings, kind.provided).items():
        yield (*path, key) if key else path, message


def find_part_type(registry: MMEngineRegistry, name: Any) -> PartType | None:
    """Find the class or function of a config's `type`.

    Args:
        registry: of poseplug or of mmengine.
        name: a registered name, or a class or function, which is returned as it is.

    Returns:
        The class or function; None if the registry has no such name.

    Raises:
        PluginError: the name is taken twice, or its package does not load.
    """
    if not isinstance(name, str):
        return name if callable(name) else None
    if isinstance(registry, Registry):
        return registry.find_part(name)
    return find_registered_part(registry, name)


def describe_missing_part(registry: MMEngineRegistry, name: Any) -> str:
    """Compose the message for a `type` for which `find_part_type` returns None.

    Args:
        registry: of poseplug or of mmengine.
        name: the value of `type`.
    """
    if not isinstance(name, str):
        return f'a type is the name of a {registry.name} or a class; got {name!r}'
    if isinstance(registry, Registry):
        return registry.describe_unknown(name)
    if name in registry.module_dict:
        return f'{registry.name} {name!r} needs a package that is not installed'
    return describe_unknown_part(registry, name)


def iter_parts(
    cfg: Mapping[str, Any], part_kinds: Mapping[str, PartKind]
) -> Iterator[tuple[KeyPath, dict[str, Any], PartKind]]:
    """Iterate over the dicts of a config that registries build, outer ones first.

    A dict inside a part is of the part's kind unless `part_kinds` has its key. A dict below a key that ends in `_cfg`
    is a setting that the part interprets, and no part.

    Args:
        cfg: the config.
        part_kinds: kinds of part by key.

    Yields:
        Key path, dict and kind of each part.
    """
    for key in (*_CORE_KEYS, *TRAINING_KEYS):
        if key in cfg:
            yield from _iter_parts_below(cfg[key], (key,), part_kinds.get(key), part_kinds)


def _iter_parts_below(
    value: Any, path: KeyPath, kind: PartKind | None, part_kinds: Mapping[str, PartKind]
) -> Iterator[tuple[KeyPath, dict[str, Any], PartKind]]:
    """The parts in a value, which is of a kind unless a key inside says otherwise."""
    if isinstance(value, dict):
        if kind and ('type' in value or kind.default_type):
            yield path, value, kind
        for key, setting in value.items():
            inherited_kind = None if str(key).endswith('_cfg') else kind
            yield from _iter_parts_below(setting, (*path, key), part_kinds.get(key, inherited_kind), part_kinds)
    elif isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from _iter_parts_below(element, (*path, index), kind, part_kinds)


def get_setting(cfg: Any, path: Sequence[Any]) -> Any:
    """Return a nested setting of a config.

    Args:
        cfg: the config, or a dict or list in it.
        path: keys, and indices into lists, which may be text.

    Returns:
        The setting; None if there is none.
    """
    for key in path:
        if isinstance(cfg, Mapping | Config):
            cfg = cfg.get(key)
        elif isinstance(cfg, list | tuple) and str(key).isdigit() and int(key) < len(cfg):
            cfg = cfg[int(key)]
        else:
            return None
    return cfg
