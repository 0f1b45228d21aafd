"""Accuracy by stage: per keypoint, with curves over the threshold (Wei et al. 2016, figure 6c)."""

from __future__ import annotations

__all__ = ['build_stage_charts', 'build_stage_claims', 'collect_stage_scores']

from collections.abc import Mapping, Sequence

import numpy as np

from poseplug.analysis.study import VariantRun
from poseplug.analysis.verdicts import Claim
from poseplug.core.errors import ConfigError
from poseplug.report.charts import Chart, Series

_TOTAL_CURVE = 'mean'


def collect_stage_scores(runs: Sequence[VariantRun], metric: str | None = None) -> dict[str, list[float]]:
    """Collect a score of every stage.

    Args:
        runs: of one variant, by seed.
        metric: the name of the score; None for the compared one.

    Returns:
        By 'stage 1', 'stage 2' and so on, one value per seed.
    """
    num_stages = len(runs[0].stage_scores)
    name = metric or runs[0].metric
    return {f'stage {t + 1}': [run.stage_scores[t][name] for run in runs] for t in range(num_stages)}


def build_stage_claims(num_stages: int) -> list[Claim]:
    """Build the claims that every stage is better than the one before.

    Args:
        num_stages: of the network.

    Raises:
        ConfigError: the network has one stage.
    """
    if num_stages < 2:
        raise ConfigError('stages are compared of a network with several; this one has one stage')
    numbers = range(2, num_stages + 1)
    return [Claim(f'stage {t} better than stage {t - 1}', f'stage {t}', f'stage {t - 1}') for t in numbers]


def build_stage_charts(runs: Sequence[VariantRun]) -> dict[str, Chart]:
    """Build the charts: scores of keypoints over the stages, and the curve of each stage if the metric has curves.

    Args:
        runs: of one variant, by seed; means over the seeds are drawn.
    """
    metric = runs[0].metric
    # names with a slash are scores of single keypoints
    names = [metric, *(name for name in runs[0].scores if name.startswith(f'{metric}/'))]
    series = []
    for name in names:
        values = collect_stage_scores(runs, name)
        means = [float(np.mean(scores)) for scores in values.values()]
        series.append(Series(name.partition('/')[2] or 'total', list(range(1, len(means) + 1)), means))
    charts = {'keypoints': Chart(f'{metric} by stage', 'stage', metric, series)}
    # metrics without thresholds, such as AP, have no curves
    if all(_TOTAL_CURVE in curves for curves in runs[0].stage_curves):
        curves = [_average_curve(runs, t) for t in range(len(runs[0].stage_curves))]
        charts['curves'] = Chart('Stage by stage', 'threshold', 'correct keypoints, percent', curves, y_range=(0, 100))
    return charts


def _average_curve(runs: Sequence[VariantRun], stage: int) -> Series:
    """The mean curve of one stage over the seeds."""
    curves: list[Mapping[str, list[list[float]]]] = [run.stage_curves[stage] for run in runs]
    x = curves[0][_TOTAL_CURVE][0]
    y = np.mean([curve[_TOTAL_CURVE][1] for curve in curves], axis=0)
    return Series(f'stage {stage + 1}', x, [float(value) for value in y])
