"""The layers of a config: the settings of every base, and those of the config itself, before they are merged.

A .py config is a program, in the classic syntax of mmengine, and runs here. A .json or .yaml config is data
(`poseplug.config.data_files`).
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.config.data_files import ConfigLayer, list_data_layers
from poseplug.config.local_modules import check_local_modules
from poseplug.config.locations import (
    find_base_variables,
    get_base_source,
    imports_modules,
    list_base_names,
    list_config_files,
    parse_config_syntax,
)
from poseplug.config.shipped import DATA_CONFIG_SUFFIXES, resolve_base
from poseplug.core.errors import ConfigError, PoseplugError


def list_layers(path: Path) -> list[ConfigLayer]:
    """Read a config and its bases.

    Args:
        path: of a .py, .json or .yaml file.

    Returns:
        The layers, bases first.

    Raises:
        ConfigError: a file cannot be read, two bases of a config have a setting in common, or a module beside the
            config has the name of another one that is loaded.
    """
    if path.suffix in DATA_CONFIG_SUFFIXES:
        return list_data_layers(path)
    if path.suffix != '.py':
        suffixes = ', '.join(DATA_CONFIG_SUFFIXES)
        raise ConfigError(f'{path} is no config: its name ends in .py, or in {suffixes} for one of data alone')
    files = list_config_files(path)
    # Every file is parsed before the first one runs, so that a syntax error is reported with its own line.
    for file in files:
        parse_config_syntax(file)
    # The modules beside a config are checked before they are imported by running it.
    _add_import_folders(files)
    check_local_modules(files)
    try:
        return _list_python_layers(path)
    except PoseplugError:
        raise
    # A config is a program and may fail in any way.
    except Exception as error:
        raise ConfigError(f'{path} cannot be read: {type(error).__name__}: {error}') from error


def _add_import_folders(files: list[Path]) -> None:
    """Append the folders of config files to the module search path, if they import modules.

    The folders stay there, so that modules can be imported later and in loader workers.
    """
    for file in files:
        folder = str(file.resolve().parent)
        if imports_modules(file) and folder not in sys.path:
            # Behind the other folders: a module beside a config must not hide an installed one.
            sys.path.append(folder)


def _list_python_layers(path: Path) -> list[ConfigLayer]:
    """Run a Python config and its bases; a base `poseplug::NAME` is a shipped config."""
    bases = [resolve_base(path, base) for base in list_base_names(path)]
    if not bases or find_base_variables(path):
        # Settings of `_base_.NAME` are known to mmengine alone, which merges the bases itself.
        with tempfile.TemporaryDirectory() as folder:
            return [ConfigLayer(path, _run_config(_localize_bases(path, Path(folder))))]
    layers: list[ConfigLayer] = []
    origins: dict[str, Path] = {}
    for base in bases:
        base_layers = list_layers(base)
        names = {name for layer in base_layers for name in layer.settings}
        _check_distinct(path, base, names, origins)
        layers += base_layers
    with tempfile.TemporaryDirectory() as folder:
        # Run without its bases, whose settings are layers of their own.
        copy = Path(folder) / path.name
        copy.write_text(_replace_bases(path, ''), encoding='utf-8')
        return [*layers, ConfigLayer(path, _run_config(copy))]


def _check_distinct(path: Path, base: Path, names: set[str], origins: dict[str, Path]) -> None:
    """Raise a ConfigError if another base has one of the names; their order would decide which one counts."""
    for name in sorted(names & set(origins)):
        raise ConfigError(
            f'{path}: its bases {origins[name]} and {base} both set {name!r}; set it in one of them, or in the config'
        )
    origins.update(dict.fromkeys(names, base))


def _run_config(file: Path) -> dict[str, Any]:
    """Run a Python config and return its settings."""
    settings: dict[str, Any] = Config.fromfile(str(file), lazy_import=False, import_custom_modules=False).to_dict()
    return settings


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
    copy = Path(tempfile.mkdtemp(dir=folder)) / path.name
    base_paths = [str(each) for each in copies]
    copy.write_text(_replace_bases(path, f'_base_ = {base_paths!r}'), encoding='utf-8')
    return copy


def _replace_bases(path: Path, statement: str) -> str:
    """Return the source of a config with another statement in place of its `_base_`, on the same lines."""
    source, base_source = path.read_text(encoding='utf-8'), get_base_source(path)
    source = source.replace(base_source, statement + '\n' * base_source.count('\n'), 1)
    return re.sub(r'{{\s*fileDirname\s*}}', path.resolve().parent.as_posix(), source)  # of the config, not of a copy
