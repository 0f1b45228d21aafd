"""Whether the metrics of a config can measure its data: what they need of the skeleton and of the annotations."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from poseplug.config.build import build_dataset, build_evaluator
from poseplug.core.errors import PoseplugError
from poseplug.evaluation.results import list_possible_scores
from poseplug.inspect.environment import Finding
from poseplug.registry.skeletons import get_skeleton

_REMEDY = 'Training or testing with this config would stop with this message'


def check_metrics(cfg: Mapping[str, Any]) -> list[Finding]:
    """Check the metrics of a config on the annotations of its data.

    Args:
        cfg: The config; its annotation files are read, its images are not.

    Returns:
        The names of the scores of every split, or what its metrics lack. Nothing for a config without a model.
    """
    if cfg.get('model') is None or cfg.get('skeleton') is None:
        return []
    findings: list[Finding] = []
    checked: list[tuple[Any, Any]] = []
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        settings = (loader, cfg.get(f'{split}_evaluator'))
        # val and test often have the same settings
        if loader and settings not in checked:
            checked.append(settings)
            findings.append(_check_split(cfg, split))
    return findings


def _check_split(cfg: Mapping[str, Any], split: str) -> Finding:
    """The scores of a split, or why there are none."""
    create_metrics = functools.partial(build_evaluator, cfg, split, get_skeleton(cfg['skeleton']))
    try:
        create_metrics()
        dataset = build_dataset(cfg, cfg[f'{split}_dataloader']['dataset'])
        scores = list_possible_scores(create_metrics, dataset.records, f'{split}_evaluator')
    except PoseplugError as error:
        return Finding(str(error).rstrip('.'), _REMEDY)
    if scores is None:
        return Finding(f'{split}_evaluator: its scores are known after the first evaluation')
    totals = ', '.join(name for name in scores.values if '/' not in name)
    return Finding(f'{split}_evaluator returns {totals}')
