"""What parts declare about each other, and the arguments of their constructors that follow from it.

A part declares by class attributes

- `needs`: the names of the constructor's arguments that other parts provide, such as `('in_channels', 'strides')`.
  Those of a base class hold for its subclasses; a constructor without such an argument does not receive it;
- `slots`: the settings that hold other parts, with what is provided to these;
- `common_settings`: settings that mean the same in every part that declares them, beside those of a common base class.

Registries, estimators and the check of configs read these declarations. A part of another project that declares no
`needs` receives what its constructor accepts.
"""

from __future__ import annotations

__all__ = [
    'PartType',
    'Slot',
    'find_argument_errors',
    'find_empty_slots',
    'freeze_lists',
    'get_slots',
    'inspect_parameters',
    'list_constructor_classes',
    'list_needs',
    'merge_arguments',
]

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poseplug.core.errors import ConfigError, MismatchError, compose_message, suggest_closest

PartType = Callable[..., Any]  # a class or a function; calling it builds the part


@dataclass(frozen=True)
class Slot:
    """A setting that holds a part, or several.

    Attributes:
        kind: the kind of the parts, such as 'codec'; or the class that the settings are for, if it is always the same.
        provides: names of the values that the parts may need.
        by_name: whether a dict of parts by name is accepted, besides one part and a list.
        named_steps: whether a config's dict of parts by name becomes a list in its order, without those that are None.
            The names are what configs that build on it change single parts by.
        default_types: the type of a part without one, by the name of the part or the key of the setting.
        builder_settings: settings in the same dict that the code which builds the part reads, not its constructor.
        builder_slots: those of them that hold parts.

    Example:
        >>> Slot('model', provides=('in_channels', 'strides')).get_type(dict(type='HeatmapHead'), 'head')
        'HeatmapHead'
    """

    kind: str | type
    provides: tuple[str, ...] = ()
    by_name: bool = False
    named_steps: bool = False
    default_types: Mapping[str, str] = field(default_factory=dict)
    builder_settings: tuple[str, ...] = ()
    builder_slots: Mapping[str, Slot] = field(default_factory=dict)

    def get_type(self, spec: Mapping[str, Any], key: Any) -> Any:
        """Return the type of a part: the one in its settings, or the default one.

        Args:
            spec: the settings of the part.
            key: of the setting that holds it.

        Returns:
            A name, a class or a function; None if the settings are not those of a part.
        """
        if isinstance(self.kind, type):
            return self.kind
        return spec.get('type', self.default_types.get(key))

    def select_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Select what is provided to the parts from a dict that has all of it."""
        return {name: values[name] for name in self.provides}


def get_slots(part: PartType | None) -> Mapping[str, Slot]:
    """Return the settings of a part that hold other parts; none for None."""
    slots: Mapping[str, Slot] = getattr(part, 'slots', {})
    return slots


def list_needs(part: PartType, provided: Iterable[str]) -> list[str]:
    """List the arguments of a part's constructor that are provided.

    Args:
        part: a class or a function.
        provided: names of the values that other parts provide.

    Returns:
        The names that the part declares in `needs`, or accepts if it declares none.
    """
    parameters = inspect_parameters(part)[0]
    # Parts of other packages declare nothing, and receive whatever their constructor accepts.
    declared = getattr(part, 'needs', None)
    return [name for name in provided if name in parameters and (declared is None or name in declared)]


def find_empty_slots(part: PartType, settings: Mapping[str, Any]) -> list[str]:
    """Find the settings of None that hold a part which the constructor cannot do without.

    Args:
        part: a class or a function.
        settings: of the part.
    """
    parameters, _ = inspect_parameters(part)
    required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    return [name for name in get_slots(part) if name in required and settings.get(name, part) is None]


def inspect_parameters(part: PartType) -> tuple[dict[str, inspect.Parameter], bool]:
    """Inspect the constructor of a part.

    Args:
        part: a class or a function.

    Returns:
        The parameters by name, and whether the constructor accepts others too. If it has `**kwargs`, the parameters
        of the base class's constructor are included.
    """
    parameters: dict[str, inspect.Parameter] = {}
    functions = [vars(c)['__init__'] for c in list_constructor_classes(part)] if inspect.isclass(part) else [part]
    for function in functions:
        signature = inspect.signature(function).parameters
        for name, parameter in signature.items():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name != 'self':
                # From the class to its bases: where both have a parameter, the class's default counts.
                parameters.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            return parameters, False
    return parameters, bool(functions)


def list_constructor_classes(part: type) -> list[type]:
    """Return a part's class and base classes that define a constructor, without those of torch and Python."""
    # nn.Module's constructor accepts any argument, and would switch off the check of every network part.
    foreign = ('torch.nn.modules', 'builtins', 'abc')
    return [c for c in part.__mro__ if '__init__' in vars(c) and not c.__module__.startswith(foreign)]


def find_argument_errors(
    part: PartType, name: str, settings: Mapping[str, Any], provided: Collection[str]
) -> dict[str, str]:
    """Check settings against the constructor of a part.

    Args:
        part: a class or a function.
        name: of the part, for the messages.
        settings: from the config.
        provided: the names of the values that other parts will provide.

    Returns:
        A message for each unknown setting, by its name; the message about missing settings has the key ''.
    """
    parameters, accepts_others = inspect_parameters(part)
    needs = list_needs(part, provided)
    accepted = ', '.join(n for n in parameters if n not in needs) or 'no settings'
    unknown = [] if accepts_others else [k for k in settings if k not in parameters]
    errors = {}
    for key in unknown:
        hint = suggest_closest(key, parameters)
        errors[key] = compose_message(f'{name} has no argument {key!r}', hint, f'it takes: {accepted}')
    required = [n for n, p in parameters.items() if p.default is p.empty]
    missing = [n for n in required if n not in settings and n not in needs]
    if missing:
        present = ', '.join(settings) or 'nothing'
        errors[''] = f'{name} needs {", ".join(missing)}; given: {present}'
    # A part that lists `needs` receives nothing else, which the author of a new part easily forgets.
    undeclared = [n for n in missing if n in provided]
    if undeclared:
        errors[''] += f'. Other parts provide {undeclared[0]}; add it to `needs` of {name}'
    return errors


def merge_arguments(part: PartType, name: str, settings: dict[str, Any], provided: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings and provided values into the arguments of a part.

    Args:
        part: a class or a function.
        name: of the part, for the messages.
        settings: from the config.
        provided: values of other parts; those that the part does not need are dropped.

    Returns:
        The arguments by name.

    Raises:
        ConfigError: a setting is unknown or missing.
        MismatchError: a setting contradicts a provided value.
    """
    errors = find_argument_errors(part, name, settings, provided)
    if errors:
        raise ConfigError('\n'.join(errors.values()))
    accepted = {key: provided[key] for key in list_needs(part, provided)}
    for key, value in accepted.items():
        # A config has lists where parts have tuples; both mean the same.
        if key in settings and freeze_lists(settings[key]) != freeze_lists(value):
            raise MismatchError(
                f'{name} is given {key}={settings[key]!r} in the config, but the part it is connected to has '
                f'{key}={value!r}; leave {key} out of the config'
            )
    return {**settings, **accepted}


def freeze_lists(value: Any) -> Any:
    """Convert the lists in a setting to tuples, at every depth, so that a list and a tuple compare as equal."""
    if isinstance(value, Mapping):
        return {k: freeze_lists(v) for k, v in value.items()}
    return tuple(map(freeze_lists, value)) if isinstance(value, list | tuple) else value
