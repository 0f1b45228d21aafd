"""Gradients by layer over training, with and without intermediate supervision (Wei et al. 2016, figure 5)."""

from __future__ import annotations

__all__ = ['GradientStudy', 'build_gradient_variants', 'summarize_gradients']

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poseplug.analysis.study import StudySettings, VariantRun
from poseplug.analysis.variants import Variant
from poseplug.analysis.verdicts import Claim
from poseplug.config.load import load_config
from poseplug.engine.hooks.gradient_histograms import MAX_EXPONENT, MIN_EXPONENT, read_gradient_records
from poseplug.report.charts import Chart, Series
from poseplug.report.panel_chart import PanelChart

WITH_SUPERVISION, WITHOUT_SUPERVISION = 'all stages supervised', 'last stage supervised'
_ZERO_EXPONENT = MIN_EXPONENT  # of the mean of a layer whose gradients are all zero
# columns that fit a page beside each other
_MAX_PANEL_LAYERS = 4


@dataclass(frozen=True)
class GradientStudy:
    """The gradients of all runs.

    Attributes:
        values: by variant and step, per seed: the mean over the layers of stage 1 of log10 of the RMS gradient.
        rows: one per run, step and layer.
        claims: of the paper, about `values`.
        charts: RMS gradients over the depth, one chart per step.
        histograms: rows are steps, columns are layers.
    """

    values: dict[str, list[float]]
    rows: list[dict[str, Any]]
    claims: list[Claim]
    charts: dict[str, Chart]
    histograms: PanelChart


def build_gradient_variants(settings: StudySettings, steps: Sequence[float]) -> list[Variant]:
    """Build the two variants, whose gradients are recorded.

    Args:
        settings: of the experiment.
        steps: of which gradients are recorded: whole numbers count from 0, others are fractions of the run.
    """
    cfg = load_config(settings.config, settings.options)
    hooks = [*(cfg.get('custom_hooks') or []), dict(type='GradientHistogramHook', steps=list(steps))]
    supervisions = {WITH_SUPERVISION: 'all', WITHOUT_SUPERVISION: 'last'}
    variants = []
    for name, supervision in supervisions.items():
        variants.append(Variant(name, {'model.supervision': supervision, 'custom_hooks': hooks}))
    return variants


def summarize_gradients(runs: Sequence[VariantRun]) -> GradientStudy:
    """Summarize the recorded gradients of an experiment.

    Args:
        runs: of the variants of `build_gradient_variants`.
    """
    # these variants have one training, whose folder is the first
    records = {(run.variant, run.seed): read_gradient_records(run.work_dirs[0]) for run in runs}
    first = next(iter(records.values()))
    steps = sorted({record['step'] for record in first})
    variants = list(dict.fromkeys(run.variant for run in runs))
    values: dict[str, list[float]] = {}
    for step in steps:
        for variant in variants:
            runs_of_variant = [lines for (name, _), lines in records.items() if name == variant]
            values[f'{variant}, step {step}'] = [_average_first_stage(lines, step) for lines in runs_of_variant]
    columns = ('step', 'layer', 'stage', 'depth', 'mean', 'std', 'rms', 'zero_fraction')
    rows = []
    for (variant, seed), lines in records.items():
        rows += [dict(variant=variant, seed=seed, **{key: line[key] for key in columns}) for line in lines]
    return GradientStudy(
        values=values,
        rows=rows,
        claims=_build_claims(steps),
        charts={f'step_{step}': _build_depth_chart(records, variants, step) for step in steps},
        histograms=_build_histograms(records, variants, steps),
    )


def _log_rms(record: Mapping[str, Any]) -> float:
    # zero gradients would make the mean over layers -inf
    return math.log10(record['rms']) if record['rms'] > 0 else _ZERO_EXPONENT


def _average_first_stage(lines: Sequence[Mapping[str, Any]], step: int) -> float:
    return float(np.mean([_log_rms(line) for line in lines if line['step'] == step and line['stage'] == 1]))


def _build_claims(steps: Sequence[int]) -> list[Claim]:
    claims = []
    for step in steps:
        text = f'stage 1 has larger gradients with intermediate supervision, step {step}'
        claims.append(Claim(text, f'{WITH_SUPERVISION}, step {step}', f'{WITHOUT_SUPERVISION}, step {step}'))
    if len(steps) > 1:
        first, last = (f'{WITH_SUPERVISION}, step {step}' for step in (steps[0], steps[-1]))
        claims.append(Claim('gradients of stage 1 fall over training, with intermediate supervision', first, last))
    return claims


def _build_depth_chart(
    records: Mapping[tuple[str, int], list[dict[str, Any]]], variants: list[str], step: int
) -> Chart:
    """RMS gradients over the depth, geometric means over the seeds."""
    series = []
    for variant in variants:
        chosen = [lines for (name, _), lines in records.items() if name == variant]
        per_seed = [[_log_rms(line) for line in lines if line['step'] == step] for lines in chosen]
        # of logarithms: the geometric mean, since gradients of seeds differ by factors
        means = np.mean(per_seed, axis=0)
        series.append(Series(variant, list(range(len(means))), [10 ** float(value) for value in means]))
    return Chart(f'Gradients at step {step}', 'layer, by stage and depth', 'RMS gradient', series, log_scale=True)


def _build_histograms(
    records: Mapping[tuple[str, int], list[dict[str, Any]]], variants: list[str], steps: Sequence[int]
) -> PanelChart:
    """Histograms of magnitudes: the first layer of each stage, the seeds together."""
    first = next(iter(records.values()))
    layers = [line['layer'] for line in first if line['step'] == steps[0]]
    stages = {line['layer']: line['stage'] for line in first}
    chosen = [next(layer for layer in layers if stages[layer] == stage) for stage in sorted(set(stages.values()))]
    chosen = chosen[:_MAX_PANEL_LAYERS]
    panels = []
    for step in steps:
        row = []
        for layer in chosen:
            row.append([_build_histogram(records, variant, step, layer) for variant in variants])
        panels.append(row)
    return PanelChart(
        title='Magnitudes of gradients',
        x_label='log10 of the magnitude',
        row_names=[f'step {step}' for step in steps],
        column_names=[f'stage {stages[layer]}: {layer.removesuffix(".weight")}' for layer in chosen],
        panels=panels,
    )


def _build_histogram(
    records: Mapping[tuple[str, int], list[dict[str, Any]]], variant: str, step: int, layer: str
) -> Series:
    """Percent of the values of a layer by bin."""
    chosen = []
    for (name, _), lines in records.items():
        if name == variant:
            chosen += [line['counts'] for line in lines if line['step'] == step and line['layer'] == layer]
    counts = np.sum(chosen, axis=0) if chosen else np.zeros(1)
    edges = np.linspace(MIN_EXPONENT, MAX_EXPONENT, len(counts) + 1)
    percent = 100 * counts / max(float(counts.sum()), 1.0)
    return Series(variant, [float(x) for x in (edges[:-1] + edges[1:]) / 2], [float(y) for y in percent])
