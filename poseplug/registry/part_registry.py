"""A registry of one kind of part: names, lookups, and parts built from configs. It needs neither torch nor mmengine.

A part is registered with a decorator (`@CODECS.register_module()`) and built from `dict(type='Name', ...)`. A registry
imports its built-in parts when the first name is looked up, and an installed package when a part that it offers by an
entry point is looked up (`poseplug.registry.plugins`).
"""

from __future__ import annotations

__all__ = ['PartRegistry', 'describe_unknown_part', 'find_registered_part', 'qualified_name']

import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from poseplug.core.errors import ConfigError, PluginError, compose_message, suggest_closest
from poseplug.registry import plugins
from poseplug.registry.wiring import PartType, merge_arguments

# What constructors raise for a wrong value; torch raises a RuntimeError for a negative number of channels.
_SETTING_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# By kind; the modules that define registries add theirs. Messages about unknown names look through them.
_REGISTRIES: dict[str, PartRegistry] = {}


class PartRegistry:
    """Parts by name, with helpful errors for unknown names, and parts built with values of other parts.

    Args:
        name: the kind of part, such as 'codec'.
        scope: prefix by which a name may be qualified.

    Attributes:
        parent: the registry in which names are looked up that this one lacks; None for none.

    Example:
        >>> from poseplug.registry import CODECS, SKELETONS
        >>> CODECS.build(dict(type='CPMHeatmap', input_size=(64, 64)), skeleton=SKELETONS.get('lsp')()).fields
        {'heatmap': 15}
    """

    parent: Any = None

    def __init__(self, name: str, scope: str = 'poseplug'):
        # The attributes have the names of mmengine's registry, which `Registry` inherits in their place.
        self._name, self._scope = name, scope
        self._module_dict: dict[str, PartType] = {}

    @property
    def name(self) -> str:
        """The kind of part."""
        return self._name

    @property
    def scope(self) -> str:
        """The prefix by which a name may be qualified."""
        return self._scope

    @property
    def module_dict(self) -> dict[str, PartType]:
        """The registered parts by name."""
        return self._module_dict

    def __len__(self) -> int:
        return len(self._module_dict)

    def __contains__(self, key: str) -> bool:
        return self.find_part(key) is not None

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.name!r}, {len(self)} parts)'

    def import_from_location(self) -> None:
        """Import the built-in parts of this kind."""
        plugins.import_builtin_parts(self.name)

    def get(self, key: str) -> PartType:
        """Return the part of a name.

        Args:
            key: a registered name, here or in mmengine's registry of the kind, or `package.module.Name`.

        Raises:
            ConfigError: there is no such part; the message has the closest name, then all names.
            PluginError: two packages have a part of that name, or its package does not load.
        """
        part = self.find_part(key)
        if part is None:
            raise ConfigError(self.describe_unknown(key))
        return part

    def find_part(self, key: str) -> PartType | None:
        """Return the part of a name, or None.

        Args:
            key: as in `get`. The module of a dotted name is imported. If an installed package offers the name, that
                package is imported.

        Raises:
            PluginError: two packages have a part of that name, or its package does not load.
        """
        self.import_from_location()
        if '.' not in key:
            return find_registered_part(self, key)
        part = self._find_dotted_part(key)
        # A dotted name may lead to anything importable, such as a module or a number.
        return part if inspect.isclass(part) or inspect.isroutine(part) else None

    def _find_dotted_part(self, key: str) -> Any:
        """The object of `SCOPE.NAME` of this registry, or of `package.module.Name`; None if there is none."""
        scope, _, name = key.partition('.')
        if scope == self.scope and name in self.module_dict:
            return self.module_dict[name]
        try:
            return pkgutil.resolve_name(key)
        # What `resolve_name` raises for a module or an attribute that does not exist, or a text that is no name.
        except (ImportError, AttributeError, ValueError):
            return None

    def list_names(self) -> list[str]:
        """Return the registered names, sorted, without those of mmengine and of packages that are not imported yet."""
        self.import_from_location()
        return sorted(self.module_dict)

    def describe_unknown(self, key: str) -> str:
        """Compose the message for a name that is not registered: the closest name, all names, installed plugins."""
        self.import_from_location()
        return describe_unknown_part(self, key)

    def as_part(self, value: object, module: str) -> PartType:
        """Convert the object of an entry point to the class or function that is registered.

        Args:
            value: the object.
            module: that contains it.

        Raises:
            PluginError: the object is neither a class nor a function.
        """
        if not callable(value):
            raise PluginError(f'a {self.name} is a class or a function; {module} has a value of {type(value).__name__}')
        return value

    def build(self, cfg: Any, **provided: Any) -> Any:
        """Build a part from its config.

        Args:
            cfg: `dict(type=..., **settings)`; a part that is built already is returned as it is.
            provided: values of other parts, such as channels, strides or the skeleton; each is passed on if the part
                needs it.

        Returns:
            The part.

        Raises:
            ConfigError: `type` is unknown, a setting is unknown or missing, or the constructor refuses a value; or
                `cfg` is a text, a number, a list or None, which is no part.
            MismatchError: a setting contradicts a provided value.
        """
        # Estimators build parts from configs, and tests and notebooks hand them parts that are built.
        if isinstance(cfg, str | int | float | list | tuple | None):
            # Such as the inner list of [[dict(type='EPE')]]: as a part it would fail where it is first called.
            raise ConfigError(f"a {self.name} is written as dict(type='Name', ...); got {cfg!r}")
        if not isinstance(cfg, Mapping):
            return cfg
        settings = dict(cfg)
        part, name = self.resolve_type(settings.pop('type', None), settings)
        arguments = merge_arguments(part, name, settings, provided)
        try:
            return part(**arguments)
        # Errors of poseplug are none of these, and pass.
        except _SETTING_ERRORS as error:
            listed = ', '.join(f'{k}={v!r}' for k, v in settings.items()) or 'its defaults'
            reason = f'{type(error).__name__}: {error}'
            raise ConfigError(f'{self.name} {name} cannot be built with {listed}: {reason}') from error

    def resolve_type(self, part_type: Any, settings: Mapping[str, Any]) -> tuple[PartType, str]:
        """Return the class or function of a config's `type`, and its name.

        Args:
            part_type: a name, or the class or function itself.
            settings: the other keys of the config, for the message.

        Raises:
            ConfigError: `part_type` is missing or unknown.
        """
        if isinstance(part_type, str):
            return self.get(part_type), part_type
        if part_type is None or not callable(part_type):
            problem = f'got {dict(settings)}' if part_type is None else f'got type={part_type!r}'
            raise ConfigError(f"a {self.name} needs a 'type', one of: {', '.join(self.list_names())}; {problem}")
        return part_type, part_type.__name__

    def register_module(self, name: str | list[str] | None = None, force: bool = False, module: Any = None) -> Any:
        """Register a part: `@REGISTRY.register_module()` before a class, or a call with `module`.

        Args:
            name: the name, or several; by default that of the class or function.
            force: replace a part that another module registered by that name.
            module: the class or function; None to decorate one.

        Returns:
            The class or function, or a decorator.

        Raises:
            PluginError: another module has registered the name.
            TypeError: the module cannot be called, or the name is no text.
        """
        names = name if isinstance(name, list) else [name]
        if not all(each is None or isinstance(each, str) for each in names):
            raise TypeError(f'the name of a {self.name} is a text; got {name!r}')
        if module is not None:
            self._register_module(module, name, force)
            return module

        # Without `module` this is a decorator: the class comes with the call that follows.
        def register(part: PartType) -> PartType:
            self._register_module(part, name, force)
            return part

        return register

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        """Register a part; a part of the same module and name is replaced, as when a notebook cell is run again.

        The built-in parts of the kind are imported before a part of another package is registered, so that the error
        of a name that both have names the other package as the second one.
        """
        if not callable(module):
            raise TypeError(f'a {self.name} is a class or a function; got a {type(module).__name__}')
        # Our own modules are registering themselves just now.
        if not qualified_name(module).startswith('poseplug.'):
            plugins.import_builtin_parts(self.name)
        # Several names stand for aliases.
        for name in module_name if isinstance(module_name, list) else [module_name or module.__name__]:
            registered = self._module_dict.get(name)
            if registered is not None and not force and qualified_name(registered) != qualified_name(module):
                raise PluginError(
                    f'{self.name} {name!r} is already registered by {qualified_name(registered)}; '
                    f'{qualified_name(module)} cannot take the name too. Rename one of them, or uninstall the package '
                    f'that you do not need'
                )
            self._module_dict[name] = module


def add_registries(*registries: PartRegistry) -> None:
    """Let messages about unknown names look through further registries."""
    _REGISTRIES.update({registry.name: registry for registry in registries})


def find_registered_part(registry: Any, key: str) -> PartType | None:
    """Find the part of a name in a registry, in its parents or in an installed package.

    Args:
        registry: of poseplug or of mmengine.
        key: a name without dots.

    Returns:
        The part; None if there is none.

    Raises:
        PluginError: two packages have a part of that name, or its package does not load.
    """
    registered_part = next((r.module_dict[key] for r in _list_ancestry(registry) if key in r.module_dict), None)
    plugin_part = plugins.find_plugin_part(registry.name, key)
    if plugin_part is None:
        return registered_part
    # Not imported so far: looking up the name is what imports its package.
    if registered_part is None:
        return _register_plugin_part(registry, plugin_part)
    # A package may also register a part by the decorator: that is the same part, and no conflict.
    if _top_package(registered_part.__module__) != _top_package(plugin_part.entry.module):
        raise PluginError(
            f'{registry.name} {key!r} is registered by {qualified_name(registered_part)}; {plugin_part} cannot take '
            f'the name too. Rename one of them, or uninstall the package that you do not need'
        )
    return registered_part


def describe_unknown_part(registry: Any, key: str) -> str:
    """Compose the message for a name that is not registered: the closest name, all names, installed plugins.

    Args:
        registry: of poseplug or of mmengine; the names of mmengine's are not listed.
        key: the unknown name.
    """
    plugin_names = [part.name for part in plugins.list_plugin_parts(registry.name)]
    registered_names = registry.module_dict if isinstance(registry, PartRegistry) else ()
    known = sorted({*registered_names, *plugin_names})
    # mmengine's names are not listed, but may be the closest.
    candidates = [*plugin_names, *(name for each in _list_ancestry(registry) for name in each.module_dict)]
    message = compose_message(
        f'{registry.name} {key!r} is not registered',
        suggest_closest(key, candidates),
        *(f'{key!r} is a {kind}' for kind in _list_other_kinds(registry, key)),
        f'known: {", ".join(known)}' if known else '',
    )
    return f'{message}. Is its plugin installed? {plugins.describe_packages()}'


def _register_plugin_part(registry: Any, plugin_part: plugins.PluginPart) -> PartType:
    """Import the part of an installed package and register it by the name of the entry point."""
    value = plugin_part.load()
    part: Any = registry.module_dict.get(plugin_part.name)  # its module may have registered the part during the import
    if part is None:
        part = registry.as_part(value, plugin_part.entry.module) if isinstance(registry, PartRegistry) else value
        registry.register_module(name=plugin_part.name, module=part, force=True)
    return part


def _top_package(module: str) -> str:
    """The package of a dotted module name."""
    return module.partition('.')[0]


def _list_ancestry(registry: Any) -> list[Any]:
    """A registry and its parents."""
    ancestry = [registry]
    while ancestry[-1].parent is not None:
        ancestry.append(ancestry[-1].parent)
    return ancestry


def _list_other_kinds(registry: Any, key: str) -> list[str]:
    """The other kinds of part that have this name."""
    others = [other for other in _REGISTRIES.values() if other is not registry]
    offered = {other.name: [part.name for part in plugins.list_plugin_parts(other.name)] for other in others}
    return [other.name for other in others if key in other.module_dict or key in offered[other.name]]


def qualified_name(part: PartType) -> str:
    """Return the dotted name of a part, `package.module.Name`."""
    return f'{part.__module__}.{getattr(part, "__qualname__", type(part).__name__)}'
