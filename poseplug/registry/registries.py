"""The registries of the kinds of parts that mmengine has, as children of mmengine's; and all registries by kind."""

from __future__ import annotations

__all__ = [
    'DATASETS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'OPTIMIZERS',
    'PARAM_SCHEDULERS',
    'REGISTRIES',
    'SAMPLERS',
    'TRANSFORMS',
    'Registry',
    'get_registry',
]

from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry as MMEngineRegistry

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.registry.part_registry import PartRegistry, add_registries
from poseplug.registry.runtime_registries import (
    CODECS,
    DETECTOR_FAMILIES,
    IMAGE_INPUTS,
    LABEL_FORMATS,
    SKELETONS,
    SMOOTHERS,
    SOURCES,
    TRACKERS,
)


# PartRegistry comes first: its `get`, `build` and `register_module` count, with their messages.
class Registry(PartRegistry, MMEngineRegistry):
    """A registry that is also one of mmengine: a child of the one that mmengine has of the same kind.

    Args:
        name: the kind of part.
        parent: mmengine's registry, in which names are looked up that this one lacks.
        scope: prefix by which a name may be qualified.

    Example:
        >>> METRICS.get('PCK').__name__
        'PCK'
    """

    def __init__(self, name: str, parent: MMEngineRegistry | None = None, scope: str = 'poseplug'):
        # It sets the attributes that PartRegistry reads, and enters this registry among the children of its parent.
        MMEngineRegistry.__init__(self, name, parent=parent, scope=scope)

    def _find_dotted_part(self, key: str) -> Any:
        """The object of a dotted name, in mmengine's way: its scopes are other packages' registries."""
        try:
            return MMEngineRegistry.get(self, key)
        except (RuntimeError, TypeError, ConfigError):
            return None


MODELS = Registry('model', parent=MMENGINE_MODELS)
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS)
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS)
SAMPLERS = Registry('sampler', parent=MMENGINE_SAMPLERS)
METRICS = Registry('metric', parent=MMENGINE_METRICS)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS)
LOOPS = Registry('loop', parent=MMENGINE_LOOPS)
OPTIM_WRAPPERS = Registry('optimizer wrapper', parent=MMENGINE_OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = Registry('optimizer constructor', parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS)
OPTIMIZERS = Registry('optimizer', parent=MMENGINE_OPTIMIZERS)
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=MMENGINE_PARAM_SCHEDULERS)

REGISTRIES: dict[str, PartRegistry] = {
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
        OPTIMIZERS,
        PARAM_SCHEDULERS,
        CODECS,
        SOURCES,
        LABEL_FORMATS,
        TRACKERS,
        SMOOTHERS,
        SKELETONS,
        DETECTOR_FAMILIES,
        IMAGE_INPUTS,
    )
}
add_registries(*REGISTRIES.values())


def get_registry(kind: str) -> PartRegistry:
    """Return the registry of a kind of part.

    Args:
        kind: such as 'codec'.

    Raises:
        ConfigError: there is no such kind; the message lists them.
    """
    if kind not in REGISTRIES:
        hint, kinds = suggest_closest(kind, REGISTRIES), f'kinds: {", ".join(REGISTRIES)}'
        raise ConfigError(compose_message(f'there is no kind of part {kind!r}', hint, kinds))
    return REGISTRIES[kind]
