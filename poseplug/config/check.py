"""Checks of a config: every setting that no part accepts, and every type that is not registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry as MMEngineRegistry

from poseplug.config.locations import KeyPath, find_base_variables, find_unread_names, list_config_files
from poseplug.config.settings import CONFIG_SETTINGS, CONFIG_SLOTS, TRAINING_SLOTS
from poseplug.core.errors import ConfigError, PluginError, compose_message, suggest_closest
from poseplug.registry import OPTIM_WRAPPER_CONSTRUCTORS, PartRegistry, get_registry
from poseplug.registry.part_registry import describe_unknown_part, find_registered_part
from poseplug.registry.wiring import PartType, Slot, find_argument_errors, find_empty_slots, get_slots


class PartSpec(NamedTuple):
    """The settings of a part in a config.

    Attributes:
        path: the keys and indices that lead to them.
        settings: of the part; a value that is not a dict is an error.
        slot: the setting that holds the part.
    """

    path: KeyPath
    settings: Any
    slot: Slot

    @property
    def type(self) -> Any:
        """The type of the part: a name, a class or a function; None if it has none."""
        # The last name: in a list of parts the path ends with an index.
        key = next(key for key in reversed(self.path) if isinstance(key, str))
        return self.slot.get_type(self.settings, key) if isinstance(self.settings, Mapping) else None

    @property
    def kind_name(self) -> str:
        """The name of the kind in messages, such as 'a codec'."""
        name = self.slot.kind if isinstance(self.slot.kind, str) else str(self.path[-1])
        return f'an {name}' if name[0] in 'aeiou' else f'a {name}'

    def find_class(self) -> PartType | None:
        """Find the class or function of the part; None if it is not registered.

        Raises:
            PluginError: the type is registered twice, or its package does not load.
        """
        return find_part_type(self.registry, self.type) if self.type is not None else None

    @property
    def registry(self) -> PartRegistry | None:
        """The registry of the part's kind; None for settings of a class that no registry has."""
        return get_registry(self.slot.kind) if isinstance(self.slot.kind, str) else None


def find_config_errors(cfg: Config, training: bool = False) -> Iterator[tuple[KeyPath, str]]:
    """Find every error in a config.

    Args:
        cfg: the loaded config.
        training: check the parts of the training engine (hooks, optimizer, schedules) too.

    Yields:
        Key path and message of each error. The settings below a wrong key are not checked.
    """
    yield from _find_unread_settings(cfg)
    yield from _find_skipping_tests(cfg)
    yield from _find_flipped_tests(cfg)
    yield from _find_skeleton_errors(cfg.get('skeleton'))
    if not isinstance(cfg.get('seed', 0), int):
        yield ('seed',), f'seed is a whole number; got {cfg.seed!r}'
    if training and isinstance(cfg.get('custom_hooks'), Mapping):
        # as one part it would pass the checks below, and what reads the list would take its keys for hooks
        yield ('custom_hooks',), f"custom_hooks is a list, [dict(type='Name', ...), ...]; got {dict(cfg.custom_hooks)}"
    constructor = get_setting(cfg, ['optim_wrapper', 'constructor'])
    if training and constructor and find_part_type(OPTIM_WRAPPER_CONSTRUCTORS, constructor) is None:
        yield ('optim_wrapper', 'constructor'), describe_missing_part(OPTIM_WRAPPER_CONSTRUCTORS, constructor)
    for part in iter_parts(cfg, [key for key in CONFIG_SLOTS if training or key not in TRAINING_SLOTS]):
        yield from _find_part_errors(part)


def _find_unread_settings(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Top-level settings that nothing reads: misspelt ones, and variables that their own file does not use."""
    files = list_config_files(Path(cfg.filename)) if cfg.filename else []
    names = {name for file in files for name in find_unread_names(file)} if files else set(cfg)
    # A file that builds on another one may read its variables by `_base_.NAME`.
    names -= {name for file in files for name in find_base_variables(file)}
    for name in sorted(names - set(CONFIG_SETTINGS)):
        if not name.startswith('_'):
            hint = suggest_closest(name, CONFIG_SETTINGS) or f'a config has: {", ".join(CONFIG_SETTINGS)}'
            remedy = 'a variable that only other files use begins with _'
            yield (name,), compose_message(f'nothing reads {name!r}', hint, remedy if files else '')


def _find_skipping_tests(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Data sets for tests that may skip images."""
    for key in ('val_dataloader', 'test_dataloader'):
        if get_setting(cfg, [key, 'dataset', 'max_skipped']):
            yield (
                (key, 'dataset', 'max_skipped'),
                'an image left out of a test would be missing from its results; leave max_skipped=0',
            )


def _find_flipped_tests(cfg: Config) -> Iterator[tuple[KeyPath, str]]:
    """Transforms of tests after which an image shows something else than its annotations say."""
    for part in iter_parts(cfg, ('val_dataloader', 'test_dataloader')):
        if part.slot.kind == 'transform' and getattr(_find_class_or_none(part), 'is_for_training', False):
            message = f'{part.type} changes what a test image shows; leave it out'
            yield part.path, compose_message(message, 'for a flip test set flip_test=True in the model')


def _find_skeleton_errors(spec: Any) -> Iterator[tuple[KeyPath, str]]:
    """The error of a skeleton that cannot be built."""
    from poseplug.registry.skeletons import get_skeleton

    try:
        if spec is not None:
            get_skeleton(spec)
    except ConfigError as error:
        yield ('skeleton',), str(error)


def _find_part_errors(part: PartSpec) -> Iterator[tuple[KeyPath, str]]:
    """The errors in the type and the settings of one part."""
    if not isinstance(part.settings, Mapping):
        yield part.path, f"{part.kind_name} is written as dict(type='Name', ...); got {part.settings!r}"
        return
    if part.type is None:
        known = ', '.join(part.slot.default_types)
        remedy = f'only {known} have a default one' if known else ''
        yield part.path, compose_message(f"{part.kind_name} needs a 'type'; got {dict(part.settings)}", remedy)
        return
    try:
        part_class = part.find_class()
    except PluginError as error:
        yield (*part.path, 'type'), str(error)
        return
    # After the lookup, which tells a package that does not load from a name that nothing has.
    if part_class is None:
        assert part.registry is not None
        yield (*part.path, 'type'), describe_missing_part(part.registry, part.type)
        return
    has_type = part.registry is not None
    # What the code that builds the part takes out of its settings, before the constructor sees them.
    external = ('type', *part.slot.builder_settings, *part.slot.builder_slots) if has_type else ()
    settings = {key: value for key, value in part.settings.items() if key not in external}
    name = part.type if isinstance(part.type, str) else getattr(part.type, '__name__', str(part.type))
    part_name = name if has_type else str(part.path[-1])
    for key in find_empty_slots(part_class, settings):
        yield (*part.path, key), f'{part_name} needs a part as its {key}; got None'
    for key, message in find_argument_errors(part_class, part_name, settings, part.slot.provides).items():
        yield (*part.path, key) if key else part.path, message


def find_part_type(registry: PartRegistry | MMEngineRegistry, name: Any) -> PartType | None:
    """Find the class or function of a config's `type`.

    Args:
        registry: of poseplug or of mmengine.
        name: a registered name, or a class or function, which is returned as it is.

    Returns:
        The class or function; None if the registry has no such name.

    Raises:
        PluginError: the name is taken twice, or its package does not load.
    """
    if not isinstance(name, str):
        return name if callable(name) else None
    if isinstance(registry, PartRegistry):
        return registry.find_part(name)
    return find_registered_part(registry, name)


def describe_missing_part(registry: PartRegistry | MMEngineRegistry, name: Any) -> str:
    """Compose the message for a `type` for which `find_part_type` returns None.

    Args:
        registry: of poseplug or of mmengine.
        name: the value of `type`.
    """
    if not isinstance(name, str):
        return f'a type is the name of a {registry.name} or a class; got {name!r}'
    if isinstance(registry, PartRegistry):
        return registry.describe_unknown(name)
    if name in registry.module_dict:
        return f'{registry.name} {name!r} needs a package that is not installed'
    return describe_unknown_part(registry, name)


def iter_parts(cfg: Mapping[str, Any], keys: Iterable[str]) -> Iterator[PartSpec]:
    """Iterate over the parts of a config, outer ones first.

    Parts in a part are those of the slots that it declares; the parts in one that is not registered are left out.

    Args:
        cfg: the config.
        keys: the top-level settings whose parts are needed.
    """
    for key in keys:
        if key in cfg:
            yield from _iter_slot(cfg[key], (key,), CONFIG_SLOTS[key])


def _iter_slot(value: Any, path: KeyPath, slot: Slot) -> Iterator[PartSpec]:
    """The parts in the value of a slot."""
    if isinstance(value, list | tuple):
        for index, element in enumerate(value):
            yield from _iter_slot(element, (*path, index), slot)
    elif isinstance(value, Mapping) and slot.by_name and 'type' not in value:
        for name, element in value.items():
            # One level of names at most: a dict without a type below a name is a part whose type is missing.
            yield from _iter_slot(element, (*path, name), replace(slot, by_name=False))
    # A text or a number in the position of a part is an error that the caller reports.
    elif isinstance(value, Mapping | str | int | float):
        part = PartSpec(path, value, slot)
        yield part
        for key, inner_slot in list_inner_slots(part).items():
            if key in part.settings:
                yield from _iter_slot(part.settings[key], (*path, key), inner_slot)


def list_inner_slots(part: PartSpec) -> dict[str, Slot]:
    """Return the settings of a part that hold parts; none if its type is not registered."""
    if not isinstance(part.settings, Mapping):
        return {}
    return {**part.slot.builder_slots, **get_slots(_find_class_or_none(part))}


def _find_class_or_none(part: PartSpec) -> PartType | None:
    """The class or function of a part; None also where `_find_part_errors` reports why there is none."""
    try:
        return part.find_class() if isinstance(part.settings, Mapping) else None
    except PluginError:
        return None


def get_setting(cfg: Any, path: Sequence[Any]) -> Any:
    """Return a nested setting of a config.

    Args:
        cfg: the config, or a dict or list in it.
        path: keys, and indices into lists, which may be text.

    Returns:
        The setting; None if there is none.
    """
    for key in path:
        if isinstance(cfg, Mapping | Config):
            cfg = cfg.get(key)
        elif isinstance(cfg, list | tuple) and str(key).isdigit() and int(key) < len(cfg):
            cfg = cfg[int(key)]
        else:
            return None
    return cfg
