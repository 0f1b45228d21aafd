"""One registry per kind of part, children of mmengine's where mmengine has that kind.

A part joins with a decorator (`@CODECS.register_module()`) and is built from `dict(type='Name', ...)`. A registry
loads its built-in parts when it is first asked for a name, and a plugin when it is asked for a name of that plugin's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry as MMEngineRegistry

from poseplug import plugins
from poseplug.errors import ConfigError, MismatchError, PluginError, clauses, closest


class Registry(MMEngineRegistry):
    """mmengine's registry, with lookups that explain themselves and wiring that cannot contradict a config."""

    def import_from_location(self) -> None:
        plugins.load(self.name)

    def get(self, key: str) -> Any:
        """The part of that name, here or in mmengine's registry of the kind; an unknown name is an error."""
        part = self.find(key)
        if part is None:
            raise ConfigError(self.unknown(key))
        return part

    def find(self, key: str) -> Any:
        """The part of that name, or None; a dotted name (`package.module.Name`) is imported.

        A name that nobody has registered is sought in the installed plugins.
        """
        self.import_from_location()
        if '.' not in key:
            if self._registered(key) is None:
                plugins.seek(self.name, key)
            return self._registered(key)
        try:
            part = super().get(key)
        except (RuntimeError, TypeError, ConfigError):
            return None
        return part if inspect.isclass(part) or inspect.isroutine(part) else None

    def names(self) -> list[str]:
        """Every registered name, sorted, without those of mmengine and of plugins that nobody has named."""
        self.import_from_location()
        return sorted(self.module_dict)

    def unknown(self, key: str) -> str:
        """The message for a name that nobody registers: the closest, all known, and where it may come from."""
        offered = plugins.offered(self.name)
        known = sorted({*self.names(), *offered})
        others = [r for r in REGISTRIES.values() if r is not self]
        told = clauses(
            f'{self.name} {key!r} is not registered',
            closest(key, [*offered, *(n for r in self._family() for n in r.module_dict)]),
            *(f'{key!r} is a {r.name}' for r in others if key in r.module_dict or key in plugins.offered(r.name)),
            f'known: {", ".join(known)}' if known else '',
        )
        return f'{told}. {plugins.hint(key)}'

    def build(self, cfg: Any, **wired: Any) -> Any:
        """Build `dict(type=..., **settings)`, or return an already built part as it is.

        `wired` are values that other parts know (channels, strides, the skeleton): each is handed on if the part's
        constructor takes it; a setting that contradicts one is an error.
        """
        if not isinstance(cfg, Mapping):
            return cfg
        settings = dict(cfg)
        part, name = self.part(settings.pop('type', None), settings)
        arguments = check_arguments(part, name, settings, wired)
        try:
            return part(**arguments)
        except (TypeError, ValueError) as error:
            given = ', '.join(f'{k}={v!r}' for k, v in settings.items()) or 'its defaults'
            raise ConfigError(
                f'{self.name} {name} cannot be made with {given}: {type(error).__name__}: {error}'
            ) from error

    def part(self, kind: Any, settings: Mapping[str, Any]) -> tuple[Any, str]:
        """The class or function that a config's `type` means, and its name."""
        if isinstance(kind, str):
            return self.get(kind), kind
        if kind is None or not callable(kind):
            given = f'got type={kind!r}' if kind is not None else f'got {dict(settings)}'
            raise ConfigError(f"a {self.name} needs a 'type', one of: {', '.join(self.names())}; {given}")
        return kind, kind.__name__

    def _registered(self, key: str) -> Any:
        """What was registered by that name here or in a registry that this one inherits from, or None."""
        return next((r.module_dict[key] for r in self._family() if key in r.module_dict), None)

    def _family(self) -> list[MMEngineRegistry]:
        """This registry and those it inherits from."""
        family: list[MMEngineRegistry] = [self]
        while family[-1].parent is not None:
            family.append(family[-1].parent)
        return family

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        """Register under a name that is free; a part of the same place may come again, as in a notebook.

        The built-in parts of the kind come before anybody else's, so that a clash is the newcomer's.
        """
        if not where(module).startswith('poseplug.'):
            plugins.OURS.load(self.name)
        for name in module_name if isinstance(module_name, list) else [module_name or module.__name__]:
            taken = self._module_dict.get(name)
            if taken is not None and not force and where(taken) != where(module):
                raise PluginError(
                    f'{self.name} {name!r} is already registered by {where(taken)}; {where(module)} cannot take the '
                    f'name too. Rename one of them, or uninstall the package that you do not need'
                )
        super()._register_module(module, module_name, force=True)


def where(part: Any) -> str:
    """Module and qualified name of a part, as `package.module.Name`."""
    return f'{part.__module__}.{getattr(part, "__qualname__", type(part).__name__)}'


def parameters(part: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """The named parameters of a constructor, and whether it takes any others.

    A constructor that hands `**others` to its base class takes that one's parameters as well.
    """
    named: dict[str, inspect.Parameter] = {}
    makers = [vars(c)['__init__'] for c in own_classes(part)] if inspect.isclass(part) else [part]
    for maker in makers:
        signature = inspect.signature(maker).parameters
        for name, parameter in signature.items():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name != 'self':
                named.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            return named, False
    return named, bool(makers)


def own_classes(part: type) -> list[type]:
    """The classes of a part that write a constructor of their own, without those of torch and Python."""
    foreign = ('torch.nn.modules', 'builtins', 'abc')
    return [c for c in part.__mro__ if '__init__' in vars(c) and not c.__module__.startswith(foreign)]


def misfits(part: Any, name: str, settings: Mapping[str, Any], wired: Iterable[str]) -> dict[str, str]:
    """What is wrong with a part's settings: a message for each argument that it does not take, and for those it lacks.

    The key '' stands for the part as a whole. `wired` names what other parts will hand it.
    """
    named, open_ended = parameters(part)
    offered = ', '.join(n for n in named if n not in wired) or 'no settings'
    strange = [] if open_ended else [k for k in settings if k not in named]
    found = {k: clauses(f'{name} has no argument {k!r}', closest(k, named), f'it takes: {offered}') for k in strange}
    missing = [n for n, p in named.items() if p.default is p.empty and n not in settings and n not in wired]
    if missing:
        found[''] = f'{name} needs {", ".join(missing)}; given: {", ".join(settings) or "nothing"}'
    return found


def check_arguments(part: Any, name: str, settings: dict[str, Any], wired: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and wired values together, or an error that names the misspelt or contradicting argument."""
    found = misfits(part, name, settings, wired)
    if found:
        raise ConfigError('\n'.join(found.values()))
    joined = {key: value for key, value in wired.items() if key in parameters(part)[0]}
    for key, value in joined.items():
        if key in settings and listless(settings[key]) != listless(value):
            raise MismatchError(
                f'{name} is given {key}={settings[key]!r} in the config, but the part it is joined to has '
                f'{key}={value!r}; leave {key} out of the config'
            )
    return {**settings, **joined}


def listless(value: Any) -> Any:
    """A setting with its lists as tuples, all the way down."""
    if isinstance(value, Mapping):
        return {k: listless(v) for k, v in value.items()}
    return tuple(map(listless, value)) if isinstance(value, list | tuple) else value


MODELS = Registry('model', parent=MMENGINE_MODELS, scope='poseplug')
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='poseplug')
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='poseplug')
SAMPLERS = Registry('sampler', parent=MMENGINE_SAMPLERS, scope='poseplug')
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='poseplug')
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='poseplug')
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='poseplug')
OPTIM_WRAPPERS = Registry('optimizer wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='poseplug')
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer constructor', parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, scope='poseplug'
)
CODECS = Registry('codec', scope='poseplug')
SOURCES = Registry('source', scope='poseplug')
SKELETONS = Registry('skeleton', scope='poseplug')

REGISTRIES = {
    registry.name: registry
    for registry in (
        MODELS,
        DATASETS,
        TRANSFORMS,
        SAMPLERS,
        METRICS,
        HOOKS,
        LOOPS,
        OPTIM_WRAPPERS,
        OPTIM_WRAPPER_CONSTRUCTORS,
        CODECS,
        SOURCES,
        SKELETONS,
    )
}


def registry_of(kind: str) -> Registry:
    """The registry of a kind of part, by its name."""
    if kind not in REGISTRIES:
        raise ConfigError(
            clauses(f'there is no kind of part {kind!r}', closest(kind, REGISTRIES), f'kinds: {", ".join(REGISTRIES)}')
        )
    return REGISTRIES[kind]
