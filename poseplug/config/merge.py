"""Merges settings into a config, where a part of another type starts with its own defaults."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from poseplug.config.check import find_part_type, get_setting, iter_parts, list_inner_slots
from poseplug.config.data_files import merge_dicts
from poseplug.config.locations import KeyPath
from poseplug.config.settings import CONFIG_SLOTS, TRAINING_SLOTS
from poseplug.core.errors import PluginError
from poseplug.registry.wiring import inspect_parameters, list_constructor_classes


def merge_settings(base: Mapping[str, Any], override: Mapping[str, Any], location: str = '') -> dict[str, Any]:
    """Merge settings into others.

    Dicts are merged; one with `_delete_` replaces that of the base as a whole. A dict with another `type` replaces the
    part: of the old settings it keeps those that mean the same to both, which a warning lists.

    Args:
        base: the settings that are overridden.
        override: the settings that override them.
        location: of `override`, for the warning.

    Returns:
        The merged settings, without `_delete_`.
    """
    # A copy, whose parts of another type lose their settings before those of `override` are merged in.
    merged = merge_dicts(base, {})
    for path, new_type in _find_new_types(merged, override, ()):
        reset_part(merged, path, new_type, location)
    return merge_dicts(merged, override)


def _find_new_types(base: Any, override: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """The dicts of a base, outer ones first, to which an override gives another type."""
    if not isinstance(base, Mapping) or override.get('_delete_'):
        return
    if 'type' in override and base.get('type') not in (None, override['type']):
        yield path, override['type']
    for key, value in override.items():
        if isinstance(value, Mapping):
            yield from _find_new_types(base.get(key), value, (*path, key))


def reset_part(cfg: Any, path: KeyPath, new_type: Any, location: str = '') -> None:
    """Delete the settings of a part that do not apply to a part of another type, and log a warning that lists them.

    Args:
        cfg: the config, which is changed.
        path: of the part; if no part is there, nothing is deleted.
        new_type: a name, a class or a function.
        location: of the new type, for the warning.
    """
    keys = [path[0]] if path[0] in CONFIG_SLOTS else []
    part = next((each for each in iter_parts(cfg, keys) if tuple(map(str, each.path)) == tuple(map(str, path))), None)
    if part is None or part.type in (None, new_type) or part.registry is None:
        return
    shared = _find_shared_settings(part.registry, part.type, new_type)
    if shared is None:
        return
    spec = get_setting(cfg, path)
    common_keys = {'type', *shared, *part.slot.builder_settings, *part.slot.builder_slots}
    dropped = {key: value for key, value in spec.items() if key not in common_keys}
    for key in dropped:
        del spec[key]
    if dropped:
        listed = ', '.join(f'{key}={value!r}' for key, value in dropped.items())
        subject = f'{location}, {".".join(map(str, path))}' if location else '.'.join(map(str, path))
        logging.getLogger('poseplug').warning(
            '%s: %s starts with its defaults; dropped settings of %s: %s', subject, new_type, part.type, listed
        )


def _find_shared_settings(registry: Any, old_type: Any, new_type: Any) -> set[str] | None:
    """Settings that mean the same to both parts: those of a common base class, and those that the new part requires.

    The `common_settings` that both declare are kept, too, and `unused_settings` of the new part are not. None if one of
    the types is unknown: that error is reported later.
    """
    try:
        old, new = find_part_type(registry, old_type), find_part_type(registry, new_type)
    except PluginError:
        return None
    if old is None or new is None:
        return None
    common: list[type] = []
    if isinstance(old, type) and isinstance(new, type):
        # The nearest common base class with a constructor: what it accepts means the same to both parts.
        common = [c for c in list_constructor_classes(old) if c in new.__mro__]
    inherited = set(inspect_parameters(common[0])[0]) if common else set()
    # Parts without a common base class may still share settings, such as the input of every estimator.
    inherited |= set(getattr(old, 'common_settings', ())) & set(getattr(new, 'common_settings', ()))
    inherited -= set(getattr(new, 'unused_settings', ()))
    parameters = inspect_parameters(new)[0]
    return {name for name, p in parameters.items() if p.default is p.empty or name in inherited}


def list_named_steps(cfg: dict[str, Any]) -> dict[KeyPath, list[str]]:
    """Replace each dict of named steps by the list that it stands for.

    Args:
        cfg: the config, which is changed.

    Returns:
        The names of the steps, by the path of their list.
    """
    names: dict[KeyPath, list[str]] = {}
    for part in iter_parts(cfg, [key for key in CONFIG_SLOTS if key not in TRAINING_SLOTS]):
        slots = list_inner_slots(part)
        for key in [key for key, slot in slots.items() if slot.named_steps and key in part.settings]:
            steps = part.settings[key]
            if isinstance(steps, Mapping) and 'type' not in steps:
                # A config removes a step of its base by setting it to None.
                names[(*part.path, key)] = [name for name, step in steps.items() if step is not None]
                part.settings[key] = [step for step in steps.values() if step is not None]
    return names
