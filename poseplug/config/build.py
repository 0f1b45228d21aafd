"""Builds the parts of a config: values that one part knows are passed on to others, so that a config has them once."""

from __future__ import annotations

__all__ = [
    'build_dataset',
    'build_evaluator',
    'build_metrics',
    'build_model',
    'build_teacher',
    'get_input_size',
    'require_setting',
]

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import CropRule, Size
from poseplug.core.skeleton import Skeleton
from poseplug.files.weights import load_weights
from poseplug.registry import CODECS, DATASETS, METRICS, MODELS
from poseplug.registry.skeletons import get_skeleton


def require_setting(cfg: Mapping[str, Any], key: str) -> Any:
    """Return a top-level setting of a config.

    Args:
        cfg: the config.
        key: of the setting.

    Raises:
        ConfigError: the config does not have it, or is no mapping.
    """
    if not hasattr(cfg, 'get'):  # mmengine's Config is no Mapping
        raise ConfigError(f'a config is a dict of settings, or what load_config returns; got {type(cfg).__name__}')
    if cfg.get(key) is None:
        name = getattr(cfg, 'filename', None) or 'the config'
        raise ConfigError(f'{name} has no {key!r}, which this command needs')
    return cfg[key]


def build_model(cfg: Mapping[str, Any]) -> nn.Module:
    """Build the estimator of a config, with the config's skeleton.

    Args:
        cfg: with `model` and `skeleton`.

    Returns:
        The estimator with random weights, or those of pretrained parts that the config names.

    Raises:
        ConfigError: a setting is missing, unknown or out of range, or two parts do not fit each other.

    Example:
        >>> parts = dict(codec=dict(type='CPMHeatmap', input_size=(64, 64)), backbone=dict(type='CPMTrunk'))
        >>> model = build_model(dict(skeleton='lsp', model=dict(type='TopDown', head=dict(type='CPMHead'), **parts)))
        >>> len(model.skeleton)
        14
    """
    spec = require_setting(cfg, 'model')
    if isinstance(spec.get('teacher'), Mapping):
        # Here, because estimators read neither configs nor weights.
        spec = {**spec, 'teacher': build_teacher(spec['teacher'])}
    return MODELS.build(spec, skeleton=get_skeleton(require_setting(cfg, 'skeleton')))


def build_teacher(spec: Mapping[str, Any]) -> nn.Module:
    """Build the trained estimator that a student learns from.

    Args:
        spec: dict(config=FILE, weights=FILE), and `map_keypoints=True` to take the weights' channels by name.

    Returns:
        The estimator with these weights.

    Raises:
        ConfigError: one of the two is missing, or there is another setting.
        CheckpointError: the weights cannot be read or do not fit the config's model.
    """
    settings = dict(spec)
    map_keypoints = bool(settings.pop('map_keypoints', False))
    if set(settings) != {'config', 'weights'} or None in settings.values():
        raise ConfigError(f'a teacher is dict(config=FILE, weights=FILE); got {dict(spec)}')
    model = build_model(load_config(settings['config']))
    load_weights(model, settings['weights'], map_keypoints=map_keypoints)
    return model


def build_dataset(cfg: Mapping[str, Any], spec: Mapping[str, Any], seed: int = 0, **overrides: Any) -> Any:
    """Build a data set with the skeleton of a config, and the input size and the crop rule of its codec.

    Args:
        cfg: with `model` and `skeleton`.
        spec: of the data set, such as `train_dataloader.dataset`.
        seed: of its random numbers.
        **overrides: settings that replace those of `spec`.

    Returns:
        The data set.

    Raises:
        ConfigError: a setting is missing, unknown or out of range.
        AnnotationError: the data are missing or damaged.
    """
    skeleton = get_skeleton(require_setting(cfg, 'skeleton'))
    provided = dict(input_size=get_input_size(cfg), crop_rule=get_crop_rule(cfg))
    return DATASETS.build({**spec, **overrides}, skeleton=skeleton, seed=seed, **provided)


def get_input_size(cfg: Mapping[str, Any]) -> Size:
    """Return the size of the model's input.

    Args:
        cfg: with `model`.

    Returns:
        (width, height) in px, of the model's codec or the codec of its first decoder.

    Raises:
        ConfigError: no codec has an `input_size`.
    """
    input_size: Size = tuple(_find_codec(cfg)[0]['input_size'])
    return input_size


def get_crop_rule(cfg: Mapping[str, Any]) -> CropRule:
    """Return how a box meets the model's input, as its codec says.

    Args:
        cfg: with `model` and `skeleton`.

    Returns:
        A rule of `poseplug.core.geometry.fit_matrix`.

    Raises:
        ConfigError: no codec has an `input_size`, or a setting of the codec is wrong.
    """
    spec, skeleton = _find_codec(cfg)
    # Built, because the rule may follow from several of its settings (`match`, `aligned`).
    codec = CODECS.build(spec, skeleton=get_skeleton(skeleton))
    rule: CropRule = codec.crop_rule
    return rule


def _find_codec(cfg: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """The config of the model's codec, or that of its first decoder, and its skeleton."""
    model, skeleton = require_setting(cfg, 'model'), require_setting(cfg, 'skeleton')
    # Decoders of one model share its input, so that the first codec speaks for all.
    for part in (model, *(model.get('decoders') or {}).values()):
        codec = part.get('codec')
        if codec and codec.get('input_size'):
            return codec, part.get('skeleton') or skeleton
    raise ConfigError('model.codec has no input_size, (width, height) in pixels')


def build_evaluator(cfg: Mapping[str, Any], split: str, skeleton: Skeleton) -> list[Any]:
    """Build the metrics of a config's split, and check that the skeleton has what they need (torso, sigmas, head).

    Args:
        cfg: with `val_evaluator` or `test_evaluator`; PCK by default.
        split: 'val' or 'test'.
        skeleton: of the model.

    Raises:
        ConfigError: a setting is wrong, or the skeleton lacks what a metric needs.
    """
    key = f'{split}_evaluator'
    specs = cfg.get(key)
    if isinstance(specs, Sequence) and not specs:
        raise ConfigError(f'{key} is an empty list, so that nothing would be measured; name a metric, or leave it out')
    try:
        return build_metrics(specs or dict(type='PCK'), skeleton)
    except ConfigError as error:
        default = '' if specs else ' (not set: PCK)'
        raise ConfigError(f'{key}{default}: {error}; or set another {key}') from error


def build_metrics(specs: Any, skeleton: Skeleton) -> list[Any]:
    """Build the metrics of a config.

    Args:
        specs: one metric or a list of them.
        skeleton: of the instances that they compare.

    Returns:
        The metrics, in the order of `specs`.
    """
    listed = specs if isinstance(specs, Sequence) else [specs]
    return [METRICS.build(spec, skeleton=skeleton) for spec in listed]
