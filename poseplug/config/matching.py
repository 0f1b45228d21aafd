"""Weights that were converted from other code are used by that code's conventions, which their file names."""

from __future__ import annotations

__all__ = ['MATCH_KEY', 'follow_released_code', 'match_weights']

import copy
import logging
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from poseplug.files.weights import read_weight_metadata
from poseplug.registry import CODECS, METRICS
from poseplug.registry.wiring import inspect_parameters

MATCH_KEY = 'match'  # of the metadata of a .safetensors file: the value of the codec's setting of that name
# How HRNet and MMPose rank instances, and suppress those that repeat another one.
_RELEASED_RANKING = dict(score_mode='bbox_keypoint', nms_mode='oks_nms', nms_threshold=0.9)


def match_weights(cfg: Mapping[str, Any], weights: Path | str) -> Mapping[str, Any]:
    """Return a config whose codec follows the code that weights were converted from, as their file says.

    The codec's `match` is set, from which the crop, the read-out and the scores follow, and metrics that rank
    instances rank them as that code does. Settings of the config itself count more. What was set is logged.

    Args:
        cfg: the config of the weights' model; it stays unchanged.
        weights: a file of weights, or a folder of checkpoints.

    Returns:
        The config itself, if its weights were not converted or it follows their code already; else a changed copy.
    """
    match = read_weight_metadata(weights).get(MATCH_KEY)
    codecs = [] if match is None else [*_iterate_codecs(cfg)]
    configured = next((codec['match'] for codec in codecs if 'match' in codec), None)
    if configured is not None and configured != match:
        logging.getLogger('poseplug').warning(
            '%s was trained with the crops and read-out of %s, but model.codec.match=%r counts',
            weights,
            match,
            configured,
        )
    if not codecs or configured is not None:
        return cfg
    # Codecs and metrics are changed in place, and the caller's config is not ours.
    cfg = copy.deepcopy(cfg)
    ranking = follow_released_code(cfg, str(match))
    logging.getLogger('poseplug').warning(
        '%s was trained with the crops and read-out of %s: model.codec.match=%r%s', weights, match, match, ranking
    )
    return cfg


def follow_released_code(cfg: Any, match: str) -> str:
    """Let the codec of a config follow a released code, and metrics that rank instances rank them as it does.

    Metrics stay as they are for models that find instances by themselves: MMPose ranks these by their own scores, too,
    and has suppressed repeated ones already.

    Args:
        cfg: the config, which is changed.
        match: whose conventions: the value of the codec's setting; codecs that do not offer it stay as they are.

    Returns:
        What was set for the metrics, for a message.
    """
    finds_instances = False
    for codec in _iterate_codecs(cfg):
        codec_class: Any = CODECS.get(codec['type'])
        finds_instances |= codec_class.groups_instances or codec_class.field_kind == 'instances'
        if match in codec_class.matches:
            codec['match'] = match
    return '' if finds_instances else _set_ranking(cfg.get('test_evaluator'))


def _iterate_codecs(cfg: Mapping[str, Any]) -> Iterator[MutableMapping[str, Any]]:
    """The configs of the model's codec and of its decoders'."""
    model = cfg.get('model') or {}
    for part in (model, *(model.get('decoders') or {}).values()):
        if isinstance(part.get('codec'), MutableMapping):
            yield part['codec']


def _set_ranking(evaluators: Any) -> str:
    """Let metrics that rank instances do so as the released codes; returns what was set, for a message."""
    changed = {}
    for spec in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        metric = METRICS.get(spec['type']) if isinstance(spec, MutableMapping) and 'type' in spec else None
        # Only metrics with these settings rank instances.
        if metric is None or not _RELEASED_RANKING.keys() <= inspect_parameters(metric)[0].keys():
            continue
        missing = {key: value for key, value in _RELEASED_RANKING.items() if key not in spec}
        spec.update(missing)
        changed.update(missing)
    return ''.join(f', test_evaluator.{key}={value!r}' for key, value in changed.items())
