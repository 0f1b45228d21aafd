"""The config that a run keeps in its folder: it can be run from there, with the modules that it imports."""

from __future__ import annotations

__all__ = ['format_runnable_config', 'write_runnable_config']

import ast
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from poseplug.config.locations import list_config_files, parse_config_syntax
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
    file = folder / f'{source.stem}.py'
    if source.is_file() and file.is_file() and file.samefile(source) and source.read_bytes() != data:
        file = folder / f'{source.stem}_run.py'
    write_atomically(file, data)
    for module in _list_local_modules(_list_config_files(cfg)):
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
    """
    settings = {key: _to_plain_setting(value) for key, value in cfg.items() if _is_setting(value)}
    modules = _list_imported_names(_list_config_files(cfg)) + [
        _name_part_module(f) for f in _list_files_with_parts(cfg)
    ]
    if modules:
        custom_imports = dict(settings.get('custom_imports') or {})
        named = custom_imports.get('imports') or []
        names = [named] if isinstance(named, str) else list(named)
        settings['custom_imports'] = {**custom_imports, 'imports': [*dict.fromkeys([*names, *modules])]}
    text: str = Config(settings).pretty_text
    return _NON_FINITE_NAMES + text if _has_non_finite(settings) else text


def _is_setting(value: Any) -> bool:
    """Whether a top-level value of a config is a setting, and no class, function or registry that it imports."""
    return isinstance(value, (*_PLAIN_TYPES, Mapping, list, tuple, set, np.generic, Path))


def _to_plain_setting(value: Any) -> Any:
    """A setting as literals: a class becomes its name, a number of NumPy Python's."""
    if isinstance(value, Mapping):
        return {key: _to_plain_setting(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_plain_setting(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, type):
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


def _list_imported_names(files: list[Path]) -> list[str]:
    """The modules that configs import by `import` and `from ... import`, without those of Python, each once."""
    names = [name for file in files for name in _iterate_imports(file)]
    return [name for name in dict.fromkeys(names) if name.partition('.')[0] not in sys.stdlib_module_names]


def _iterate_imports(file: Path) -> Iterator[str]:
    """The names of the modules that a file imports at its top level."""
    for statement in parse_config_syntax(file).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.module


def _list_custom_imports(files: list[Path]) -> list[str]:
    """The modules in the literal `custom_imports` of configs."""
    names: list[str] = []
    for file in files:
        for node in ast.walk(parse_config_syntax(file)):
            if isinstance(node, ast.keyword) and node.arg == 'imports':
                names += [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return names


def _list_local_modules(files: list[Path]) -> list[Path]:
    """The modules and packages beside configs that these import, and those that such modules import in turn."""
    folders = list(dict.fromkeys(file.resolve().parent for file in files))
    pending = [*_list_imported_names(files), *_list_custom_imports(files)]
    modules: dict[str, Path] = {}
    while pending:
        name = pending.pop().partition('.')[0]
        path = _find_local_module(name, folders)
        if path is None or name in modules:
            continue
        modules[name] = path
        sources = sorted(path.rglob('*.py')) if path.is_dir() else [path]
        pending += [imported for source in sources for imported in _iterate_imports(source)]
    return [*modules.values()]


def _find_local_module(name: str, folders: list[Path]) -> Path | None:
    """The file or the package of a module in one of the folders, if it is there."""
    for folder in folders:
        for path in (folder / name, folder / f'{name}.py'):
            if path.is_file() or (path / '__init__.py').is_file():
                return path
    return None


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
