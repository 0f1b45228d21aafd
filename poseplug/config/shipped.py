"""The configs that come with poseplug, found by name."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from poseplug.core.errors import ConfigError, suggest_closest

DATA_CONFIG_SUFFIXES = ('.json', '.yaml', '.yml')
_PACKAGE_FOLDER = Path(__file__).parents[1]
_SCOPE = 'poseplug::'


def get_shipped_folder() -> Path:
    """Return the folder of the shipped configs: inside the installed package, or beside the package in a clone."""
    # A wheel carries the configs inside the package; setup.py maps the folder there.
    installed = _PACKAGE_FOLDER / 'configs'
    return installed if installed.is_dir() else _PACKAGE_FOLDER.parent / 'configs'


@cache
def list_configs() -> dict[str, Path]:
    """List the shipped configs.

    Returns:
        Their files by name, sorted by name.

    Example:
        >>> list_configs()['hrnet_w32_coco_256x192'].parent.name
        'hrnet'
    """
    # Folders that begin with _ hold bases, which are no models by themselves.
    files = get_shipped_folder().glob('[!_]*/*.py')
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def is_config_argument(text: str) -> bool:
    """Return whether an argument of a command names a config rather than an image or a folder.

    Args:
        text: a file of a config by its suffix, or the name of a shipped config, unless a file or folder has that name.

    Example:
        >>> [is_config_argument(text) for text in ('mine.py', 'mine.yaml', 'cpm_lsp_lite', 'photo.jpg')]
        [True, True, True, False]
    """
    path = Path(text)
    if text.startswith(_SCOPE) or path.suffix in ('.py', *DATA_CONFIG_SUFFIXES):
        return True
    # first what costs least: inputs exist, so that configs are rarely listed
    return not path.exists() and text in list_configs()


def find_config(path: str | Path) -> Path:
    """Return the file of a config.

    Args:
        path: a file, or the name of a shipped config: 'hrnet_w32_coco_256x192' or 'hrnet/hrnet_w32_coco_256x192.py'.
            An existing file is preferred to a shipped config. 'poseplug::NAME' is always a shipped one, and may be a
            base such as 'poseplug::_base_/datasets/coco.py'.

    Raises:
        ConfigError: neither exists; the message has the closest name. Or it is no name at all.

    Example:
        >>> find_config('cpm_lsp_lite').name
        'cpm_lsp_lite.py'
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f'a config is a file or the name of a shipped one; got {type(path).__name__}. Settings in Python need no '
            f'loading: build_model and build_dataset take them as a dict'
        )
    text = str(path)
    file = Path(path)
    if not text.startswith(_SCOPE) and file.is_file():
        return file
    shipped = _find_shipped(text.removeprefix(_SCOPE))
    if shipped is None:
        raise ConfigError(_describe_missing(text))
    return shipped


def resolve_base(file: Path, base: str) -> Path:
    """Return the file that a config names as its base.

    Args:
        file: of the config.
        base: a path relative to its folder, or the name of a shipped config, such as 'hrnet_w32_coco_256x192'. A file
            of the folder is preferred. 'poseplug::NAME' is always a shipped config.

    Raises:
        ConfigError: neither exists; the message has the closest name.
    """
    if base.startswith(_SCOPE):
        return find_config(base)
    beside = (file.parent / base).resolve()
    if beside.is_file():
        return beside
    # A path to another folder is never looked up by its last part: a misspelled folder must not load another config.
    shipped = None if '/' in base else _find_shipped(base)
    if shipped is None:
        raise ConfigError(f'{file}: its base {_describe_missing(base, beside.parent)}')
    return shipped


def _find_shipped(name: str) -> Path | None:
    """The shipped config of a name, or of a path in the folder of configs, with or without '.py'; None if absent."""
    by_name = list_configs().get(name.removesuffix('.py'))
    if by_name is not None or '/' not in name:
        return by_name
    folder = get_shipped_folder().resolve()
    file = (folder / f'{name.removesuffix(".py")}.py').resolve()
    # '..' in a name must not lead out of the folder.
    return file if file.is_file() and file.is_relative_to(folder) else None


def _describe_missing(text: str, folder: Path | None = None) -> str:
    """The message for a config that does not exist, with the closest file in its folder or shipped config."""
    file = Path(text.removeprefix(_SCOPE))
    is_name = text.startswith(_SCOPE) or file.parent == Path('.')
    folder = folder or file.parent
    candidates = [path.name for path in folder.glob('*.py')] if folder.is_dir() else []
    if is_name:
        # A path with a folder is meant as a file, and a shipped config's name would be no help.
        candidates += list_configs()
    hint = suggest_closest(file.name, candidates)
    return f'{text}: no such config' + (f'; {hint}' if hint else '')
