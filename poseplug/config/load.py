"""Loads configs, and reports an error in one with its file, line and setting.

A .py config is a program, in the classic syntax of mmengine. A .json or .yaml config is data, and nothing in it is run
(`poseplug.config.data_files`).
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
    if path.suffix in DATA_CONFIG_SUFFIXES:
        cfg = Config(load_data_config(path), filename=str(path))
    else:
        cfg = _load_python_config(path)
    _import_custom_modules(cfg, options)
    _merge_cfg_options(cfg, options)
    _check_config(cfg, options, training)
    return cfg


def _load_python_config(path: Path) -> Config:
    """A Python config with its bases."""
    if path.suffix != '.py':
        suffixes = ', '.join(DATA_CONFIG_SUFFIXES)
        raise ConfigError(f'{path} is no config: its name ends in .py, or in {suffixes} for one of data alone')
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
    """Run a Python config and its bases; a base `poseplug::NAME` is a shipped config."""
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
    base_paths = [str(copy) for copy in copies]
    source = path.read_text(encoding='utf-8')
    source = source.replace(get_base_source(path), f'_base_ = {base_paths!r}', 1)
    source = re.sub(r'{{\s*fileDirname\s*}}', path.resolve().parent.as_posix(), source)  # of the config, not the copy
    copy = Path(tempfile.mkdtemp(dir=folder)) / path.name
    copy.write_text(source, encoding='utf-8')
    return copy


def _add_import_folders(path: Path) -> None:
    """Append the folders of a config and its bases to the module search path, if they import modules.

    The folders stay there, so that modules can be imported later and in loader workers.
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
    """Merge `--cfg-options` into a config: first parts that are replaced by `type`, outer ones before inner ones.

    A replaced part has its defaults, and of the old settings only those of `_find_shared_settings`.
    """
    _check_option_keys(cfg, options)
    new_types = {key: _get_new_type(key, value) for key, value in options.items()}
    replaced = [key for key, new_type in new_types.items() if new_type is not None]
    for key in sorted(replaced, key=lambda k: k.count('.')):
        _reset_replaced_part(cfg, tuple(key.removesuffix('.type').split('.')), new_types[key])
        _set_option(cfg, key, options[key])
    for key, value in options.items():
        if key not in replaced:
            _set_option(cfg, key, value)


def _check_option_keys(cfg: Config, options: Mapping[str, Any]) -> None:
    known = KNOWN_KEYS | set(cfg)
    for key in options:
        name = key.partition('.')[0]
        if name not in known:
            existing = ', '.join(k for k in cfg if k in KNOWN_KEYS)
            hint = suggest_closest(name, known) or f'it has: {existing}'
            raise ConfigError(f'--cfg-options {key}: the config has no {name!r}; {hint}')


def _get_new_type(key: str, value: Any) -> Any:
    """The type of a part that an option sets, by `KEY.type=Name` or `KEY=dict(type='Name', ...)`, or None."""
    if key.endswith('.type'):
        return value
    return value.get('type') if isinstance(value, Mapping) else None


def _set_option(cfg: Config, key: str, value: Any) -> None:
    """Set one dotted key, in which a number is an index into a list; a dict replaces a plain value."""
    *parents, name = key.split('.')
    parent = get_setting(cfg, parents) if parents else cfg
    if isinstance(value, Mapping) and isinstance(parent, Mapping) and isinstance(parent.get(name), str | int | float):
        del parent[name]  # type: ignore[attr-defined]
    try:
        cfg.merge_from_dict({key: value})
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ConfigError(
            f'--cfg-options {key}={value!r} does not fit the config, which has {_describe_nearest_setting(cfg, key)}'
        ) from error


def _describe_nearest_setting(cfg: Config, key: str) -> str:
    """The innermost setting above a dotted key that the config has, for an error message."""
    path = key.split('.')
    for length in range(len(path) - 1, 0, -1):
        value = get_setting(cfg, path[:length])
        if value is not None:
            return f'{".".join(path[:length])}={value!r}: set that as a whole'
    return 'nothing of that name'


def _reset_replaced_part(cfg: Config, path: Sequence[str], new_type: Any) -> None:
    """Delete the settings of a part that do not apply to a part of another type, and log a warning that lists them."""
    part_kinds = {**PART_KINDS, **get_training_part_kinds()} if path[0] in TRAINING_KEYS else PART_KINDS
    parts = {tuple(map(str, key_path)): (spec, kind) for key_path, spec, kind in iter_parts(cfg, part_kinds)}
    if tuple(path) not in parts:
        return
    spec, kind = parts[tuple(path)]
    old_type = spec.get('type')
    if old_type in (None, new_type):
        return
    shared = _find_shared_settings(find_part_type(kind.registry, old_type), find_part_type(kind.registry, new_type))
    if shared is None:
        return
    dropped = {key: value for key, value in spec.items() if key != 'type' and key not in shared}
    for key in dropped:
        del spec[key]
    if dropped:
        listed = ', '.join(f'{key}={value!r}' for key, value in dropped.items())
        logging.getLogger('poseplug').warning(
            '%s: %s starts with its defaults; dropped settings of %s: %s', '.'.join(path), new_type, old_type, listed
        )


def _find_shared_settings(old: Any, new: Any) -> set[str] | None:
    """Settings that mean the same to both parts: those of a common base class, and those that the new part requires.

    `unused_settings` of the new part are left out. None if one of the types is unknown: that error is reported later.
    """
    if old is None or new is None:
        return None
    common: list[type] = []
    if isinstance(old, type) and isinstance(new, type):
        common = [c for c in list_constructor_classes(old) if c in new.__mro__]
    inherited = set(inspect_parameters(common[0])[0]) if common else set()
    inherited -= set(getattr(new, 'unused_settings', ()))
    parameters = inspect_parameters(new)[0]
    return {name for name, p in parameters.items() if p.default is p.empty or name in inherited}


def _check_config(cfg: Config, options: Mapping[str, Any] | None = None, training: bool = False) -> None:
    """Raise one ConfigError with every unknown key, unknown `type` and wrong argument, if there are any."""
    messages = []
    for path, message in find_config_errors(cfg, training):
        location = locate_setting(cfg, path, options or {})
        messages.append(f'{location}, {".".join(map(str, path))}: {message}')
    if messages:
        raise ConfigError('\n'.join(messages))
