"""The results of an experiment as files: tables (CSV, Markdown) and charts (SVG, PNG)."""

from __future__ import annotations

__all__ = ['StudyReport', 'build_run_rows', 'format_study_report', 'write_study_report']

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poseplug.analysis.study import VariantRun
from poseplug.analysis.verdicts import ClaimResult, compute_seed_interval
from poseplug.evaluation.keypoint_errors import Interval
from poseplug.files.atomic import write_atomically
from poseplug.report.charts import Chart, save_svg
from poseplug.report.interval_chart import IntervalChart, IntervalRow, render_interval_chart, save_interval_chart
from poseplug.report.result_table import format_rows_csv, write_chart_files

_MAX_VARIANT_SCORES = 12  # columns of single scores in the table of runs


@dataclass(frozen=True)
class StudyReport:
    """Tables, verdicts and charts of an experiment, before they are written.

    Attributes:
        title: of the page and the chart of intervals.
        command: that repeats it.
        unit: of the values, such as 'PCK@0.2'.
        values: by variant, one value per seed.
        rows: of the CSV table, by column name; the same columns in all rows.
        claims: what was claimed, with verdicts.
        charts: further charts, by file name without a suffix.
        notes: sentences below the tables.
    """

    title: str
    command: str
    unit: str
    values: Mapping[str, Sequence[float]]
    rows: Sequence[Mapping[str, Any]]
    claims: Sequence[ClaimResult] = ()
    charts: Mapping[str, Chart] = field(default_factory=dict)
    notes: Sequence[str] = ()


def build_run_rows(runs: Sequence[VariantRun]) -> list[dict[str, Any]]:
    """Build the rows of the CSV table: one per run, with its total scores."""
    # scores of single keypoints would be dozens of columns
    totals = [name for name in runs[0].scores if '/' not in name] or list(runs[0].scores)[:_MAX_VARIANT_SCORES]
    rows = []
    for run in runs:
        head = dict(variant=run.variant, seed=run.seed, steps=run.steps, parameters=run.parameters, seconds=run.seconds)
        rows.append({**head, **{name: run.scores.get(name) for name in totals}})
    return rows


def format_study_report(report: StudyReport) -> str:
    """Format an experiment as Markdown: a table of intervals, the verdicts and the notes."""
    num_seeds = max(len(values) for values in report.values.values())
    lines = [f'# {report.title}', '', f'`{report.command}`', '']
    # of one value there is no interval over seeds
    lines += [f'Seeds: {num_seeds}; 95 % intervals over seeds.' if num_seeds > 1 else 'One seed: no intervals.', '']
    lines += [f'| variant | {report.unit} |', '|---|---|']
    for name, values in report.values.items():
        lines.append(f'| {name} | {_format_interval(compute_seed_interval(values))} |')
    if report.claims:
        lines += ['', '| claim | difference | verdict |', '|---|---|---|']
    for result in report.claims:
        lines.append(f'| {result.claim.text} | {_format_interval(result.difference)} | {result.verdict} |')
    for note in report.notes:
        lines += ['', note]
    return '\n'.join(lines)


def _format_interval(interval: Interval) -> str:
    """The interval, or its value alone where one seed tells none."""
    return str(interval) if math.isfinite(interval.low) else f'{interval.value:.2f}'


def write_study_report(report: StudyReport, out: Path) -> list[Path]:
    """Write `runs.csv`, `report.md`, `chart.svg`, `chart.png`, and both kinds of every further chart.

    Args:
        report: what is written.
        out: the folder; it is created. Files of these names are replaced.

    Returns:
        The files.

    Raises:
        ConfigError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    files = [out / 'runs.csv', out / 'report.md']
    write_atomically(files[0], format_rows_csv(report.rows).encode())
    write_atomically(files[1], f'{format_study_report(report)}\n'.encode())
    chart = IntervalChart(report.title, report.unit, _build_interval_rows(report.values))
    files.append(save_svg(render_interval_chart(chart), out / 'chart.svg'))
    files.append(save_interval_chart(chart, out / 'chart.png'))
    return files + write_chart_files(report.charts, out)


def _build_interval_rows(values: Mapping[str, Sequence[float]]) -> list[IntervalRow]:
    rows = []
    for name, scores in values.items():
        interval = compute_seed_interval(scores)
        rows.append(IntervalRow(name, scores, interval.value, interval.low, interval.high))
    return rows
