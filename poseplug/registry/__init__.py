"""Registries of parts, one for each kind, and the installed plugins that add parts to them."""

from poseplug.registry.registries import (
    CODECS,
    DATASETS,
    HOOKS,
    LABEL_FORMATS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    REGISTRIES,
    SAMPLERS,
    SKELETONS,
    SOURCES,
    TRANSFORMS,
    Registry,
    get_registry,
)

__all__ = [
    'CODECS',
    'DATASETS',
    'HOOKS',
    'LABEL_FORMATS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'REGISTRIES',
    'SAMPLERS',
    'SKELETONS',
    'SOURCES',
    'TRANSFORMS',
    'Registry',
    'get_registry',
]
