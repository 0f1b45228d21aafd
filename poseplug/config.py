"""Configs: classic mmengine Python files, read so that an error says which file, which line and which setting.

A .py config is a program. A .json or .yaml config is data, of which nothing is run (`poseplug.config_data`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug import plugins
from poseplug.config_data import ENDINGS, read_data
from poseplug.config_lines import chain, origin, tree
from poseplug.config_parts import PARTS, READ, TRAINED, engine_parts, find, findings, lookup, typed
from poseplug.errors import ConfigError, PoseplugError, closest
from poseplug.registry import own_classes, parameters


def load_config(path: str | Path, options: Mapping[str, Any] | None = None, training: bool = False) -> Config:
    """A config file with its bases, then the command line's `options` (dotted keys), checked.

    With `training` the parts of the training engine (hooks, optimiser, schedules) are checked too.
    """
    path, options = Path(path), options or {}
    if not path.is_file():
        near = closest(path.name, [p.name for p in path.parent.glob('*.py')] if path.parent.is_dir() else [])
        raise ConfigError(f'{path}: no such config' + (f'; {near}' if near else ''))
    cfg = Config(read_data(path), filename=str(path)) if path.suffix in ENDINGS else run_config(path)
    use_plugins(cfg, options)
    merge_options(cfg, options)
    check(cfg, options, training)
    return cfg


def run_config(path: Path) -> Config:
    """A Python config with its bases."""
    if path.suffix != '.py':
        raise ConfigError(
            f'{path} is no config: its name ends in .py, or in {", ".join(ENDINGS)} for one of data alone'
        )
    for file in chain(path):
        tree(file)
    try:
        return Config.fromfile(str(path), lazy_import=False, import_custom_modules=False)
    except PoseplugError:
        raise
    except Exception as error:
        raise ConfigError(f'{path} cannot be read: {type(error).__name__}: {error}') from error


def use_plugins(cfg: Config, options: Mapping[str, Any]) -> None:
    """Import the installed plugins that a config names by `plugins`."""
    names = options.get('plugins', cfg.get('plugins', []))
    try:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"a list of names of installed plugins is wanted, such as ['poseplug-offsets']; got {names!r}"
            )
        plugins.use(names)
    except ConfigError as error:
        raise ConfigError(f'{origin(cfg, ("plugins",), options)}, plugins: {error}') from error


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Put `--cfg-options` into a config: first the parts that are exchanged by `type`, outer ones before inner ones.

    An exchanged part starts anew with its own defaults. It keeps what `kept` says.
    """
    unread = [k for k in options if k.partition('.')[0] not in READ | set(cfg)]
    if unread:
        name = unread[0].partition('.')[0]
        hint = closest(name, READ | set(cfg)) or f'it has: {", ".join(k for k in cfg if k in READ)}'
        raise ConfigError(f'--cfg-options {unread[0]}: the config has no {name!r}; {hint}')
    exchanged = {key: kind for key, value in options.items() if (kind := new_type(key, value)) is not None}
    for key in sorted(exchanged, key=lambda k: k.count('.')):
        restart(cfg, tuple(key.removesuffix('.type').split('.')), exchanged[key])
        merge(cfg, key, options[key])
    for key, value in options.items():
        if key not in exchanged:
            merge(cfg, key, value)


def new_type(key: str, value: Any) -> Any:
    """The type that an option gives to a part, as `KEY.type=Name` or `KEY=dict(type='Name', ...)`, or None."""
    return value if key.endswith('.type') else value.get('type') if isinstance(value, Mapping) else None


def merge(cfg: Config, key: str, value: Any) -> None:
    """Set one dotted key; places in a list of dicts are numbers. A dict takes the place of a value that is none."""
    *above, last = key.split('.')
    owner = lookup(cfg, above) if above else cfg
    if isinstance(value, Mapping) and isinstance(owner, Mapping) and isinstance(owner.get(last), str | int | float):
        del owner[last]  # type: ignore[attr-defined]
    try:
        cfg.merge_from_dict({key: value})
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ConfigError(
            f'--cfg-options {key}={value!r} does not fit the config, which has {near(cfg, key)}'
        ) from error


def near(cfg: Config, key: str) -> str:
    """The innermost setting above a dotted key that the config does have, for an error message."""
    path = key.split('.')
    for n in range(len(path) - 1, 0, -1):
        value = lookup(cfg, path[:n])
        if value is not None:
            return f'{".".join(path[:n])}={value!r}: give that as a whole'
    return 'nothing of that name'


def restart(cfg: Config, path: Sequence[str], kind: Any) -> None:
    """Take the settings of the old part away that the new one, of another type, shall not keep."""
    every = {**PARTS, **engine_parts()} if path[0] in TRAINED else PARTS
    places = {tuple(map(str, place)): (spec, k) for place, spec, k in typed(cfg, every)}
    old, found = places.get(tuple(path), (None, None))
    if old is None or found is None or old.get('type') in (None, kind):
        return
    stays = kept(find(found.registry, old['type']), find(found.registry, kind))
    gone = {k: v for k, v in old.items() if k != 'type' and k not in stays} if stays is not None else {}
    for key in gone:
        del old[key]
    if gone:
        left = ', '.join(f'{k}={v!r}' for k, v in gone.items())
        logging.getLogger('poseplug').warning(
            '%s: %s starts with its own defaults; settings of %s left behind: %s',
            '.'.join(path), kind, old['type'], left,
        )  # fmt: skip


def kept(old: Any, new: Any) -> set[str] | None:
    """Settings that mean the same to both parts: those of a base class of both, and those that the new one must have.

    Not those that the new part inherits and declares `idle`.

    None when one of the types is unknown: then nothing is said about settings.
    """
    if old is None or new is None:
        return None
    named = parameters(new)[0]
    common = (
        [c for c in own_classes(old) if c in new.__mro__] if isinstance(old, type) and isinstance(new, type) else []
    )
    shared = set(parameters(common[0])[0]) if common else set()
    shared -= set(getattr(new, 'idle', ()))
    return {name for name, p in named.items() if p.default is p.empty or name in shared}


def check(cfg: Config, options: Mapping[str, Any] | None = None, training: bool = False) -> None:
    """Every key must be read, every `type` known, every argument fit its part; all findings are reported together."""
    told = [
        f'{origin(cfg, path, options or {})}, {".".join(map(str, path))}: {message}'
        for path, message in findings(cfg, training)
    ]
    if told:
        raise ConfigError('\n'.join(told))
