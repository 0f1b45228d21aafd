"""One registry per kind of part, children of mmengine's where mmengine has that kind.

A part joins with a decorator (`@CODECS.register_module()`) and is built from `dict(type='Name', ...)`. A registry
loads its built-in parts and the installed plugins when it is first asked for a name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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
from poseplug.errors import ConfigError, MismatchError, PluginError, closest


class Registry(MMEngineRegistry):
    """mmengine's registry, with lookups that explain themselves and wiring that cannot contradict a config."""

    def import_from_location(self) -> None:
        plugins.load(self.name)

    def get(self, key: str) -> type:
        part = super().get(key)
        if part is None:
            raise ConfigError(self.unknown(key))
        return part

    def find(self, key: str) -> type | None:
        """The part of that name, or None; never raises."""
        return super().get(key)

    def names(self) -> list[str]:
        """Every registered name, sorted, without those of mmengine."""
        self.import_from_location()
        return sorted(self.module_dict)

    def unknown(self, key: str) -> str:
        """The message for a name that nobody registered: the closest ones, all known ones, and the plugins' state."""
        known = self.names()
        hints = [f'{self.name} {key!r} is not registered', closest(key, known), f'known: {", ".join(known) or "none"}']
        return '; '.join(h for h in hints if h) + f'. Is its plugin installed? {plugins.describe()}'

    def build(self, cfg: Any, **wired: Any) -> Any:
        """Build `dict(type=..., **settings)`, or return an already built part as it is.

        `wired` are values that other parts know (channels, strides, the skeleton): each is handed on if the part's
        constructor takes it; a setting that contradicts one is an error.
        """
        if not isinstance(cfg, Mapping):
            return cfg
        settings = dict(cfg)
        kind = settings.pop('type', None)
        if kind is None:
            raise ConfigError(f"a {self.name} needs a 'type'; got {dict(cfg)}. Known: {', '.join(self.names())}")
        part = self.get(kind) if isinstance(kind, str) else kind
        name = kind if isinstance(kind, str) else part.__name__
        return part(**check_arguments(part, name, settings, wired))

    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        names = [module_name or module.__name__] if not isinstance(module_name, list) else module_name
        for name in names:
            taken = self._module_dict.get(name)
            if taken is not None and not force and where(taken) != where(module):
                raise PluginError(
                    f'{self.name} {name!r} is already registered by {where(taken)}; {where(module)} cannot take the '
                    f'name. Rename one of them, or uninstall one of the two packages'
                )
        super()._register_module(module, module_name, force=True)


def where(part: Any) -> str:
    """Module and qualified name of a part, as `package.module.Name`."""
    return f'{part.__module__}.{part.__qualname__}'


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


def check_arguments(part: Any, name: str, settings: dict[str, Any], wired: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and wired values together, or an error that names the misspelt or contradicting argument."""
    named, open_ended = parameters(part)
    for key in settings:
        if key not in named and not open_ended:
            hint = closest(key, named)
            raise ConfigError(
                f'{name} has no argument {key!r}; {hint + "; " if hint else ""}it takes: {", ".join(named)}'
            )
    for key, value in wired.items():
        if key not in named:
            continue
        if key in settings and settings[key] != value:
            raise MismatchError(
                f'{name} is given {key}={settings[key]!r} in the config, but the part it is joined to has '
                f'{key}={value!r}; leave {key} out of the config'
            )
        settings[key] = value
    missing = [n for n, p in named.items() if p.default is p.empty and n not in settings]
    if missing:
        raise ConfigError(f'{name} needs {", ".join(missing)}; given: {", ".join(settings) or "nothing"}')
    return settings


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
