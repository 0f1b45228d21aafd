"""From a config to built parts: what one part knows is handed to the next, so that no config says it twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from poseplug.errors import ConfigError
from poseplug.geometry import Size
from poseplug.registry import DATASETS, METRICS, MODELS
from poseplug.skeleton import Skeleton, get_skeleton


def need(cfg: Mapping[str, Any], key: str) -> Any:
    """A top-level setting of a config, or an error that names the file and the setting."""
    if cfg.get(key) is None:
        raise ConfigError(f'{getattr(cfg, "filename", None) or "the config"} has no {key!r}, which this command needs')
    return cfg[key]


def build_model(cfg: Mapping[str, Any]) -> nn.Module:
    """The estimator of a config; it is told the config's skeleton."""
    return MODELS.build(need(cfg, 'model'), skeleton=get_skeleton(need(cfg, 'skeleton')))


def build_dataset(cfg: Mapping[str, Any], spec: Mapping[str, Any], seed: int = 0, **changes: Any) -> Any:
    """A data set of a config; it is told the skeleton, the model's input size and the seed of its random numbers."""
    skeleton = get_skeleton(need(cfg, 'skeleton'))
    return DATASETS.build({**spec, **changes}, skeleton=skeleton, input_size=input_size(cfg), seed=seed)


def input_size(cfg: Mapping[str, Any]) -> Size:
    """(width, height) of the model's input: its codec's, or that of the decoders of a model with several."""
    model = need(cfg, 'model')
    codecs = [part.get('codec') for part in (model, *(model.get('decoders') or {}).values())]
    sizes = [tuple(codec['input_size']) for codec in codecs if codec and codec.get('input_size')]
    if not sizes:
        raise ConfigError('model.codec has no input_size, (width, height) in pixels')
    return sizes[0]


def build_metrics(specs: Any, skeleton: Skeleton) -> list[Any]:
    """The metrics of a config (one or a list); they are told the skeleton."""
    return [METRICS.build(s, skeleton=skeleton) for s in (specs if isinstance(specs, Sequence) else [specs])]
