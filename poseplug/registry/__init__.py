"""Registries of parts, one for each kind, and the installed plugins that add parts to them.

The registries of kinds that mmengine has are loaded when one of them is first used, so that parts of the other kinds
(skeletons, image inputs, detectors, trackers) need neither mmengine nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from poseplug.registry.part_registry import PartRegistry
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

if TYPE_CHECKING:
    from poseplug.registry.registries import (
        DATASETS,
        HOOKS,
        LOOPS,
        METRICS,
        MODELS,
        OPTIM_WRAPPER_CONSTRUCTORS,
        OPTIM_WRAPPERS,
        OPTIMIZERS,
        PARAM_SCHEDULERS,
        REGISTRIES,
        SAMPLERS,
        TRANSFORMS,
        Registry,
        get_registry,
    )

__all__ = [
    'CODECS',
    'DATASETS',
    'DETECTOR_FAMILIES',
    'IMAGE_INPUTS',
    'HOOKS',
    'LABEL_FORMATS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'PARAM_SCHEDULERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'REGISTRIES',
    'SAMPLERS',
    'SKELETONS',
    'SMOOTHERS',
    'SOURCES',
    'TRACKERS',
    'TRANSFORMS',
    'PartRegistry',
    'Registry',
    'get_registry',
]


def __getattr__(name: str) -> object:
    """Load the registries of the kinds that mmengine has when one is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module('poseplug.registry.registries'), name)
    # Python calls `__getattr__` only for names that a module lacks.
    globals()[name] = value  # found without this function from now on
    return value
