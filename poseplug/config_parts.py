"""What may stand in a config: which key is built by which registry, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry as MMEngineRegistry

from poseplug import plugins
from poseplug.config_lines import Keys, chain, names_used
from poseplug.errors import ConfigError, clauses, closest
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
    misfits,
)


class Kind(NamedTuple):
    """What builds the parts below a key, what other parts hand them, and settings that others read."""

    registry: MMEngineRegistry
    wired: tuple[str, ...] = ()
    read_elsewhere: tuple[str, ...] = ()
    default: str | None = None


PARTS = {
    'model': Kind(MODELS, ('skeleton',)),
    'backbone': Kind(MODELS, ('input_size',)),
    'neck': Kind(MODELS, ('in_channels', 'strides')),
    'head': Kind(MODELS, ('in_channels', 'strides', 'fields', 'stride', 'shapes', 'input_size')),
    'loss': Kind(MODELS, ('sigmas',)),
    'assigner': Kind(MODELS, ('sigmas',)),
    'codec': Kind(CODECS, ('skeleton',)),
    'peaks': Kind(CODECS, ('skeleton', 'input_size', 'stride', 'people')),
    'dataset': Kind(DATASETS, ('skeleton', 'input_size', 'seed')),
    'sources': Kind(SOURCES),
    'pipeline': Kind(TRANSFORMS, ('input_size',)),
    'val_evaluator': Kind(METRICS, ('skeleton',)),
    'test_evaluator': Kind(METRICS, ('skeleton',)),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
DESCRIBED = ('model', *LOADERS, 'val_evaluator', 'test_evaluator')
TRAINED = ('train_cfg', 'optim_wrapper', 'param_scheduler', 'default_hooks', 'custom_hooks')
SWITCHES = ('init', 'freeze', 'compile', 'auto_scale_lr')
READ = {*DESCRIBED, *TRAINED, *SWITCHES, 'skeleton', 'seed', 'overfit_steps', 'plugins'}
LOADER_SETTINGS = ('batch_size', 'num_workers', 'shares', 'dataset')
PIXEL_SETTINGS = ('mean', 'std', 'order')


@cache
def engine_parts() -> dict[str, Kind]:
    """The kinds of part that only training builds; looking them up imports the training engine."""
    from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS

    import poseplug.engine.schedules  # noqa: F401 - registers ours

    return {
        'train_cfg': Kind(LOOPS, ('runner', 'dataloader'), default='TrainLoop'),
        'optim_wrapper': Kind(OPTIM_WRAPPERS, ('optimizer',), ('constructor', 'paramwise_cfg', 'optimizer')),
        'optimizer': Kind(OPTIMIZERS, ('params',)),
        'param_scheduler': Kind(
            PARAM_SCHEDULERS, ('optimizer', 'param_name'), ('convert_to_iter_based', 'epoch_length')
        ),
        'default_hooks': Kind(HOOKS, (), ('priority',)),
        'custom_hooks': Kind(HOOKS, (), ('priority',)),
    }


def findings(cfg: Config, training: bool = False) -> Iterator[tuple[Keys, str]]:
    """Everything that is wrong with a config, as key path and message."""
    yield from unread_keys(cfg)
    for key in LOADERS:
        yield from unknown_keys((key,), cfg.get(key), LOADER_SETTINGS, 'a loader has')
    for key in ('val_dataloader', 'test_dataloader'):
        if lookup(cfg, [key, 'dataset', 'skip']):
            yield (
                (key, 'dataset', 'skip'),
                'a picture left out of a test would be missing from its figures; leave skip=0',
            )
    model = cfg.get('model')
    yield from unknown_keys(('model', 'pixels'), lookup(model, ['pixels']), PIXEL_SETTINGS, 'the pixels have')
    yield from unknown_keys(('auto_scale_lr',), cfg.get('auto_scale_lr'), ('base_batch_size',), 'auto_scale_lr has')
    yield from skeleton_findings(cfg.get('skeleton'))
    if not isinstance(cfg.get('seed', 0), int):
        yield ('seed',), f'seed is a whole number; got {cfg.seed!r}'
    constructor = lookup(cfg, ['optim_wrapper', 'constructor'])
    if training and constructor and find(OPTIM_WRAPPER_CONSTRUCTORS, constructor) is None:
        yield ('optim_wrapper', 'constructor'), missing(OPTIM_WRAPPER_CONSTRUCTORS, constructor)
    told: list[Keys] = []
    for path, spec, kind in typed(cfg, {**PARTS, **engine_parts()} if training else PARTS):
        if not any(path[: len(above)] == above for above in told):  # what stands below a wrong key is not looked at
            found = list(part_findings(path, spec, kind))
            told += [where for where, _ in found if where != path]
            yield from found


def unread_keys(cfg: Config) -> Iterator[tuple[Keys, str]]:
    """Top-level keys that nobody reads, when they look like a misspelt one: others are the config's own variables."""
    files = chain(Path(cfg.filename)) if cfg.filename else []
    used = {name for file in files for name in names_used(file)}
    for key in set(cfg) - READ - used:
        hint = closest(key, READ, cutoff=0.8)
        if hint:
            yield (key,), f'nothing reads {key!r}; {hint}'


def unknown_keys(path: Keys, spec: Any, known: Sequence[str], owner: str) -> Iterator[tuple[Keys, str]]:
    """Keys of a plain dict that nobody reads."""
    for key in spec if isinstance(spec, Mapping) else ():
        if key not in known:
            hint = closest(key, known)
            yield (*path, key), clauses(f'{owner} no setting {key!r}', hint, f'known: {", ".join(known)}')


def skeleton_findings(spec: Any) -> Iterator[tuple[Keys, str]]:
    """What is wrong with the config's skeleton."""
    from poseplug.skeleton import get_skeleton

    try:
        if spec is not None:
            get_skeleton(spec)
    except ConfigError as error:
        yield ('skeleton',), str(error)


def part_findings(path: Keys, spec: Mapping[str, Any], kind: Kind) -> Iterator[tuple[Keys, str]]:
    """What is wrong with the type and the settings of one part."""
    name = spec.get('type', kind.default)
    part = find(kind.registry, name)
    if part is None:
        yield (*path, 'type'), missing(kind.registry, name)
        return
    for key in PARTS:
        if isinstance(spec.get(key), str | int | float):
            yield (*path, key), f"a {key} is written as dict(type='Name', ...); got {spec[key]!r}"
    settings = {k: v for k, v in spec.items() if k != 'type' and k not in kind.read_elsewhere}
    for key, message in misfits(part, name if isinstance(name, str) else name.__name__, settings, kind.wired).items():
        yield (*path, key) if key else path, message


def find(registry: MMEngineRegistry, name: Any) -> Any:
    """A part by its name in one of our registries or in mmengine's own, or None."""
    if not isinstance(name, str):
        return name if callable(name) else None
    if hasattr(registry, 'find'):
        return registry.find(name)
    if name not in registry.module_dict:
        plugins.seek(registry.name, name)
    return registry.module_dict.get(name)


def missing(registry: MMEngineRegistry, name: Any) -> str:
    """The message for a name that a registry does not have."""
    if not isinstance(name, str):
        return f'a type is the name of a {registry.name} or a class; got {name!r}'
    if hasattr(registry, 'unknown'):
        return registry.unknown(name)
    if name in registry.module_dict:
        return f'{registry.name} {name!r} needs a package that is not installed'
    known = [*registry.module_dict, *plugins.offered(registry.name)]
    return f'{clauses(f"{registry.name} {name!r} is not registered", closest(name, known))}. {plugins.hint(name)}'


def typed(cfg: Mapping[str, Any], parts: Mapping[str, Kind]) -> Iterator[tuple[Keys, dict[str, Any], Kind]]:
    """Every dict that one of the registries builds: its key path, itself, its kind.

    A dict below a part is of the same kind unless its key says otherwise; what stands below a key that ends in `_cfg`
    is the part's own affair.
    """

    def walk(value: Any, path: Keys, kind: Kind | None) -> Iterator[tuple[Keys, dict[str, Any], Kind]]:
        if isinstance(value, dict):
            if kind and ('type' in value or kind.default):
                yield path, value, kind
            for key, below in value.items():
                yield from walk(below, (*path, key), parts.get(key, None if str(key).endswith('_cfg') else kind))
        elif isinstance(value, list | tuple):
            for place, below in enumerate(value):
                yield from walk(below, (*path, place), kind)

    for key in (*DESCRIBED, *TRAINED):
        if key in cfg:
            yield from walk(cfg[key], (key,), parts.get(key))


def lookup(cfg: Any, path: Sequence[Any]) -> Any:
    """What a config holds below keys and places, or None."""
    for key in path:
        if isinstance(cfg, Mapping | Config):
            cfg = cfg.get(key)
        elif isinstance(cfg, list | tuple) and str(key).isdigit() and int(key) < len(cfg):
            cfg = cfg[int(key)]
        else:
            return None
    return cfg
