"""Configs: classic mmengine Python files, read so that an error says which file, which line and which setting.

A .py config is a program. A .json or .yaml config is data, of which nothing is run (`poseplug.config.data_files`).
"""

from __future__ import annotations

__all__ = ['load_config']

import logging
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.config.check import (
    KNOWN_KEYS,
    PART_KINDS,
    TRAINING_KEYS,
    find_config_errors,
    find_part_type,
    get_setting,
    get_training_part_kinds,
    iter_parts,
)
from poseplug.config.data_files import DATA_CONFIG_SUFFIXES, load_data_config
from poseplug.config.locations import (
    get_base_source,
    imports_modules,
    list_base_names,
    list_config_files,
    locate_setting,
    parse_config_syntax,
)
from poseplug.config.shipped import find_config, resolve_base
from poseplug.core.errors import ConfigError, PoseplugError, suggest_closest
from poseplug.registry.registries import inspect_parameters, list_constructor_classes


def load_config(path: str | Path, options: Mapping[str, Any] | None = None, training: bool = False) -> Config:
    """Load a config with its bases and check it.

    Args:
        path: a .py, .json or .yaml file, or the name of a config that comes with poseplug.
        options: settings that replace those of the config, by dotted keys.
        training: check the parts of the training engine (hooks, optimizer, schedules) too.

    Returns:
        The settings, by attribute or by key.

    Raises:
        ConfigError: there is no such config, it cannot be read, or settings are wrong; all of them are in the message.

    Example:
        >>> load_config('cpm_lsp_lite', {'model.head.num_stages': 2}).model.head.num_stages
        2
    """
    path, options = find_config(path), options or {}
    cfg = (
        Config(load_data_config(path), filename=str(path))
        if path.suffix in DATA_CONFIG_SUFFIXES
        else _load_python_config(path)
    )
    _import_custom_modules(cfg, options)
    _merge_cfg_options(cfg, options)
    _check_config(cfg, options, training)
    return cfg


def _load_python_config(path: Path) -> Config:
    """A Python config with its bases."""
    if path.suffix != '.py':
        raise ConfigError(
            f'{path} is no config: its name ends in .py, or in {", ".join(DATA_CONFIG_SUFFIXES)} for one of data alone'
        )
    for file in list_config_files(path):
        parse_config_syntax(file)
    _add_import_folders(path)
    try:
        return _read_python_config(path)
    except PoseplugError:
        raise
    except Exception as error:
        raise ConfigError(f'{path} cannot be read: {type(error).__name__}: {error}') from error


def _read_python_config(path: Path) -> Config:
    """Run a Python config and its bases; those of `poseplug::NAME` are found among the shipped ones."""
    with tempfile.TemporaryDirectory() as folder:
        file = _localize_bases(path, Path(folder))
        cfg = Config.fromfile(str(file), lazy_import=False, import_custom_modules=False)
    return cfg if file == path else Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(path))


def _localize_bases(path: Path, folder: Path) -> Path:
    """Copy a config for mmengine, which reads bases from paths alone.

    Args:
        path: of the config.
        folder: of the copies.

    Returns:
        A copy whose bases are absolute paths, or `path` itself where neither it nor a base names a shipped config.
    """
    bases = list_base_names(path)
    files = [resolve_base(path, base) for base in bases]
    copies = [_localize_bases(file, folder) if file.is_file() else file for file in files]
    if copies == files and not any('::' in base for base in bases):
        return path
    source = path.read_text(encoding='utf-8')
    source = source.replace(get_base_source(path), f'_base_ = {[str(copy) for copy in copies]!r}', 1)
    source = re.sub(r'{{\s*fileDirname\s*}}', path.resolve().parent.as_posix(), source)  # of the config, not the copy
    copy = Path(tempfile.mkdtemp(dir=folder)) / path.name
    copy.write_text(source, encoding='utf-8')
    return copy


def _add_import_folders(path: Path) -> None:
    """Let a config that imports modules, and its bases, import those that lie beside it.

    The folders stay on the module search path, last, so that modules can be imported later and in loader workers.
    """
    for file in list_config_files(path):
        folder = str(file.resolve().parent)
        if imports_modules(file) and folder not in sys.path:
            sys.path.append(folder)


def _import_custom_modules(cfg: Config, options: Mapping[str, Any]) -> None:
    """Import the modules that a config names by `custom_imports`, as mmengine does."""
    spec = options.get('custom_imports', cfg.get('custom_imports'))
    if spec is None:
        return
    names = spec.get('imports') if isinstance(spec, Mapping) else None
    names = [names] if isinstance(names, str) else names
    location = f'{locate_setting(cfg, ("custom_imports",), options)}, custom_imports'
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{location}: expects dict(imports=['module', ...], allow_failed_imports=False); got {spec!r}"
        )
    for name in names:
        try:
            import_module(name)
        except (Exception, SystemExit) as error:
            message = f'{location}: {name!r} cannot be imported: {type(error).__name__}: {error}'
            if not spec.get('allow_failed_imports'):
                raise ConfigError(message) from error
            logging.getLogger('poseplug').warning('%s', message)


def _merge_cfg_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Put `--cfg-options` into a config: first the parts that are exchanged by `type`, outer ones before inner ones.

    An exchanged part starts anew with its own defaults. It keeps what `_find_shared_settings` says.
    """
    unread = [k for k in options if k.partition('.')[0] not in KNOWN_KEYS | set(cfg)]
    if unread:
        name = unread[0].partition('.')[0]
        hint = suggest_closest(name, KNOWN_KEYS | set(cfg)) or f'it has: {", ".join(k for k in cfg if k in KNOWN_KEYS)}'
        raise ConfigError(f'--cfg-options {unread[0]}: the config has no {name!r}; {hint}')
    exchanged = {key: kind for key, value in options.items() if (kind := _get_new_type(key, value)) is not None}
    for key in sorted(exchanged, key=lambda k: k.count('.')):
        _reset_replaced_part(cfg, tuple(key.removesuffix('.type').split('.')), exchanged[key])
        _set_option(cfg, key, options[key])
    for key, value in options.items():
        if key not in exchanged:
            _set_option(cfg, key, value)


def _get_new_type(key: str, value: Any) -> Any:
    """The type that an option gives to a part, as `KEY.type=Name` or `KEY=dict(type='Name', ...)`, or None."""
    return value if key.endswith('.type') else value.get('type') if isinstance(value, Mapping) else None


def _set_option(cfg: Config, key: str, value: Any) -> None:
    """Set one dotted key; places in a list of dicts are numbers. A dict takes the place of a value that is none."""
    *above, last = key.split('.')
    owner = get_setting(cfg, above) if above else cfg
    if isinstance(value, Mapping) and isinstance(owner, Mapping) and isinstance(owner.get(last), str | int | float):
        del owner[last]  # type: ignore[attr-defined]
    try:
        cfg.merge_from_dict({key: value})
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ConfigError(
            f'--cfg-options {key}={value!r} does not fit the config, which has {_describe_nearest_setting(cfg, key)}'
        ) from error


def _describe_nearest_setting(cfg: Config, key: str) -> str:
    """The innermost setting above a dotted key that the config does have, for an error message."""
    path = key.split('.')
    for n in range(len(path) - 1, 0, -1):
        value = get_setting(cfg, path[:n])
        if value is not None:
            return f'{".".join(path[:n])}={value!r}: give that as a whole'
    return 'nothing of that name'


def _reset_replaced_part(cfg: Config, path: Sequence[str], new_type: Any) -> None:
    """Take the settings of the old part away that the new one, of another type, shall not keep."""
    every = {**PART_KINDS, **get_training_part_kinds()} if path[0] in TRAINING_KEYS else PART_KINDS
    places = {tuple(map(str, place)): (spec, k) for place, spec, k in iter_parts(cfg, every)}
    old, found = places.get(tuple(path), (None, None))
    if old is None or found is None or old.get('type') in (None, new_type):
        return
    stays = _find_shared_settings(find_part_type(found.registry, old['type']), find_part_type(found.registry, new_type))
    gone = {k: v for k, v in old.items() if k != 'type' and k not in stays} if stays is not None else {}
    for key in gone:
        del old[key]
    if gone:
        left = ', '.join(f'{k}={v!r}' for k, v in gone.items())
        logging.getLogger('poseplug').warning(
            '%s: %s starts with its own defaults; settings of %s left behind: %s',
            '.'.join(path), new_type, old['type'], left,
        )  # fmt: skip


def _find_shared_settings(old: Any, new: Any) -> set[str] | None:
    """Settings that mean the same to both parts: those of a base class of both, and those that the new one must have.

    Not those that the new part inherits and declares `unused_settings`.

    None when one of the types is unknown: then nothing is said about settings.
    """
    if old is None or new is None:
        return None
    named = inspect_parameters(new)[0]
    common = (
        [c for c in list_constructor_classes(old) if c in new.__mro__]
        if isinstance(old, type) and isinstance(new, type)
        else []
    )
    shared = set(inspect_parameters(common[0])[0]) if common else set()
    shared -= set(getattr(new, 'unused_settings', ()))
    return {name for name, p in named.items() if p.default is p.empty or name in shared}


def _check_config(cfg: Config, options: Mapping[str, Any] | None = None, training: bool = False) -> None:
    """Every key must be read, every `type` known, every argument fit its part; all findings are reported together."""
    told = [
        f'{locate_setting(cfg, path, options or {})}, {".".join(map(str, path))}: {message}'
        for path, message in find_config_errors(cfg, training)
    ]
    if told:
        raise ConfigError('\n'.join(told))
