"""The config that a run keeps in its folder: it can be run from there, with the modules that it imports."""

from __future__ import annotations

__all__ = ['format_runnable_config', 'write_runnable_config']

import ast
import inspect
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from poseplug.config.local_modules import list_imported_names, list_local_modules
from poseplug.config.locations import list_config_files, parse_config_syntax
from poseplug.core.errors import ConfigError
from poseplug.files.atomic import write_atomically

_PLAIN_TYPES = (bool, int, float, str, type(None))
_NON_FINITE_NAMES = "inf, nan = float('inf'), float('nan')\n"


def write_runnable_config(cfg: Any, folder: Path) -> Path:
    """Write a whole config into a folder, and beside it the modules that the config imports from its own folder.

    Args:
        cfg: the config, bases and options included.
        folder: of the run.

    Returns:
        The written file, named as the config. Where that is the config's own file with another content, as in a run
        that is started from its folder, the name ends in `_run` instead.
    """
    source = Path(cfg.filename or 'config.py')
    data = format_runnable_config(cfg).encode()
    # Always Python: a config of data is written as one, too, because a run may add imports.
    file = folder / f'{source.stem}.py'
    # A run that starts from its own folder must not overwrite the config that it reads.
    if source.is_file() and file.is_file() and file.samefile(source) and source.read_bytes() != data:
        file = folder / f'{source.stem}_run.py'
    write_atomically(file, data)
    for module in list_local_modules(_list_config_files(cfg)):
        _copy_module(module, folder)
    for config_file in _list_files_with_parts(cfg):
        write_atomically(folder / f'{_name_part_module(config_file)}.py', config_file.read_bytes())
    return file


def format_runnable_config(cfg: Any) -> str:
    """Format a whole config as Python that can be run, also where the config imports modules or defines parts.

    Args:
        cfg: the config, bases and options included.

    Returns:
        Its settings as assignments. Imports are in `custom_imports`; values that are no settings, such as imported
        classes, are left out.

    Raises:
        ConfigError: a setting is an object that Python has no literal for.
    """
    settings = {key: _to_plain_setting(value) for key, value in cfg.items() if _is_setting(value)}
    modules = list_imported_names(_list_config_files(cfg)) + [_name_part_module(f) for f in _list_files_with_parts(cfg)]
    if modules:
        custom_imports = dict(settings.get('custom_imports') or {})
        named = custom_imports.get('imports') or []
        names = [named] if isinstance(named, str) else list(named)
        # Of `import` statements nothing is left in a config of plain settings: `custom_imports` stands for them.
        settings['custom_imports'] = {**custom_imports, 'imports': [*dict.fromkeys([*names, *modules])]}
    try:
        text: str = Config(settings).pretty_text
    except SyntaxError as error:  # of mmengine, which formats the text as Python
        raise ConfigError(
            'the config holds a value that cannot be written into the folder of the run; write it as numbers, texts, '
            'lists and dicts'
        ) from error
    return _NON_FINITE_NAMES + text if _has_non_finite(settings) else text


def _is_setting(value: Any) -> bool:
    """Whether a top-level value of a config is a setting, and no class, function or registry that it imports."""
    return isinstance(value, (*_PLAIN_TYPES, Mapping, list, tuple, set, np.generic, Path))


def _to_plain_setting(value: Any) -> Any:
    """A setting as literals: a class or function becomes its name, numbers and arrays of NumPy are Python's."""
    if isinstance(value, Mapping):
        return {key: _to_plain_setting(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_plain_setting(item) for item in value)
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, type) or inspect.isroutine(value):
        return value.__name__
    return str(value) if isinstance(value, Path) else value


def _has_non_finite(value: Any) -> bool:
    """Whether settings contain an infinite number or NaN, which Python has no literals for."""
    if isinstance(value, Mapping):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, (list, tuple, set)):
        return any(map(_has_non_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


# --- modules ----------------------------------------------------------------------------------------------------------


def _list_config_files(cfg: Any) -> list[Path]:
    """The files of a config; none for one that was not loaded from a file."""
    file = Path(cfg.filename) if cfg.filename else None
    return list_config_files(file) if file is not None and file.is_file() else []


def _copy_module(module: Path, folder: Path) -> None:
    """Copy a module or a package into a folder."""
    target = folder / module.name
    if target.exists() and target.samefile(module):
        return
    if module.is_dir():
        shutil.copytree(module, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        write_atomically(target, module.read_bytes())


def _list_files_with_parts(cfg: Any) -> list[Path]:
    """The files of a config that define classes, which the settings name as parts."""
    files = _list_config_files(cfg)
    return [f for f in files if any(isinstance(s, ast.ClassDef) for s in parse_config_syntax(f).body)]


def _name_part_module(file: Path) -> str:
    """The name of the module in a run's folder that has the classes of a config."""
    stem = ''.join(c if c.isalnum() else '_' for c in file.stem)
    return f'parts_of_{stem}'
