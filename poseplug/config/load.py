"""Loads configs, and reports an error in one with its file, line and setting."""

from __future__ import annotations

__all__ = ['load_config']

import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.config.check import find_config_errors, get_setting
from poseplug.config.layers import list_layers
from poseplug.config.locations import KeyPath, format_path, locate_setting
from poseplug.config.merge import list_named_steps, merge_settings, reset_part
from poseplug.config.settings import CONFIG_SETTINGS
from poseplug.config.shipped import find_config
from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.files.skeleton_file import is_skeleton_file, read_skeleton_fields


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
    layers = list_layers(path)
    # Before the merge, which looks up types that these modules register. The last layer's setting replaces the others'.
    imports = [layer.settings['custom_imports'] for layer in layers if 'custom_imports' in layer.settings]
    _import_custom_modules(options.get('custom_imports', imports[-1] if imports else None), path, options)
    settings: dict[str, Any] = {}
    for layer in layers:
        _read_skeleton_file(layer.settings, layer.file.parent)
        settings = merge_settings(settings, layer.settings, format_path(layer.file))
    # Steps are a list from here on; messages still call them by the names that the files have.
    step_names = list_named_steps(settings)
    cfg = Config(settings, filename=str(path))
    merged_options = {**options}
    if is_skeleton_file(options.get('skeleton')):
        cfg['skeleton'] = read_skeleton_fields(merged_options.pop('skeleton'), Path())
    _merge_cfg_options(cfg, merged_options)
    _check_config(cfg, options, training, step_names)
    for name in set(cfg) - set(CONFIG_SETTINGS):
        cfg.pop(name)  # a variable of the config, whose value is where it was used
    return cfg


def _read_skeleton_file(settings: dict[str, Any], folder: Path) -> None:
    """Replace a skeleton that is named by its file by the fields, so that the run's own config contains them."""
    spec = settings.get('skeleton')
    if isinstance(spec, str) and is_skeleton_file(spec):
        settings['skeleton'] = {'_delete_': True, **read_skeleton_fields(spec, folder)}


def _import_custom_modules(spec: Any, path: Path, options: Mapping[str, Any]) -> None:
    """Import the modules that a config names by `custom_imports`, as mmengine does."""
    if spec is None:
        return
    names = spec.get('imports') if isinstance(spec, Mapping) else None
    names = [names] if isinstance(names, str) else names
    location = f'{locate_setting(path, ("custom_imports",), options)}, custom_imports'
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{location}: expects dict(imports=['module', ...], allow_failed_imports=False); got {spec!r}"
        )
    for name in names:
        try:
            import_module(name)
        # A module may do anything while it is imported, also end the process.
        except (Exception, SystemExit) as error:
            message = f'{location}: {name!r} cannot be imported: {type(error).__name__}: {error}'
            if not spec.get('allow_failed_imports'):
                raise ConfigError(message) from error
            logging.getLogger('poseplug').warning('%s', message)


def _merge_cfg_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Merge `--cfg-options` into a config: first parts that are replaced by `type`, outer ones before inner ones.

    A replaced part has its defaults, and of the old settings only those that mean the same to both.
    """
    _check_option_keys(cfg, options)
    new_types = {key: _get_new_type(key, value) for key, value in options.items()}
    replaced = [key for key, new_type in new_types.items() if new_type is not None]
    for key in sorted(replaced, key=lambda k: k.count('.')):
        reset_part(cfg, tuple(key.removesuffix('.type').split('.')), new_types[key])
        _set_option(cfg, key, options[key])
    for key, value in options.items():
        if key not in replaced:
            _set_option(cfg, key, value)


def _check_option_keys(cfg: Config, options: Mapping[str, Any]) -> None:
    for key in options:
        name = key.partition('.')[0]
        if name not in CONFIG_SETTINGS:
            existing = ', '.join(k for k in cfg if k in CONFIG_SETTINGS)
            hint = suggest_closest(name, CONFIG_SETTINGS) or f'it has: {existing}'
            raise ConfigError(f'--cfg-options {key}: the config has no {name!r}; {hint}')


def _get_new_type(key: str, value: Any) -> Any:
    """The type of a part that an option sets, by `KEY.type=Name` or `KEY=dict(type='Name', ...)`, or None."""
    if key.endswith('.type'):
        return value
    return value.get('type') if isinstance(value, Mapping) else None


def _set_option(cfg: Config, key: str, value: Any) -> None:
    """Set one dotted key, in which a number is an index into a list; a dict replaces a plain value or None."""
    *parents, name = key.split('.')
    parent = get_setting(cfg, parents) if parents else cfg
    old = parent.get(name, {}) if isinstance(parent, Mapping | Config) else {}
    if isinstance(value, Mapping) and isinstance(old, str | int | float | None):
        parent[name] = {}  # mmengine merges a dict into a dict alone
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


def _check_config(
    cfg: Config, options: Mapping[str, Any], training: bool, step_names: Mapping[KeyPath, list[str]]
) -> None:
    """Raise one ConfigError with every unknown key, unknown `type` and wrong argument, if there are any."""
    messages = []
    for path, message in find_config_errors(cfg, training):
        location = locate_setting(Path(cfg.filename), path, options)
        if not location.startswith('--'):
            location = locate_setting(Path(cfg.filename), _name_steps(path, step_names), {})
        messages.append(f'{location}, {".".join(map(str, path))}: {message}')
    if messages:
        raise ConfigError('\n'.join(messages))


def _name_steps(path: KeyPath, step_names: Mapping[KeyPath, list[str]]) -> KeyPath:
    """A path as the files have it, where steps have names in the place of indices."""
    named: list[Any] = []
    for length, key in enumerate(path):
        names = step_names.get(path[:length], [])
        named.append(names[key] if isinstance(key, int) and key < len(names) else key)
    return tuple(named)
