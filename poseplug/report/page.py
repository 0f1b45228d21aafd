"""A self-contained HTML page about a model: scores, curves, predictions beside annotations, heatmaps by stage."""

from __future__ import annotations

__all__ = ['select_headline_metric', 'write_html_report']

import math
from collections.abc import Callable, Container, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import MetricResult
from poseplug.files.atomic import write_atomically
from poseplug.report.charts import (
    build_learning_charts,
    build_pck_chart,
    build_stage_chart,
    read_curve,
    render_bar_chart,
    render_line_chart,
)
from poseplug.report.html_parts import (
    format_report_score,
    render_bullet_list,
    render_html_page,
    render_image_grid,
    render_section,
)
from poseplug.report.page_examples import GROUP_TITLES, render_heatmap_strips, render_prediction_grid, select_examples

if TYPE_CHECKING:
    from poseplug.evaluation.results import EvaluationResult
    from poseplug.fields.heatmap_stages import HeatmapStages


def write_html_report(
    path: str | Path,
    title: str,
    evaluation: EvaluationResult,
    skeleton: Skeleton,
    curve_file: str | Path | None = None,
    predict_heatmaps: Callable[[Record], HeatmapStages] | None = None,
    images: Sequence[tuple[str, np.ndarray]] = (),
    run_info: Mapping[str, Any] | None = None,
    num_examples: int = 6,
    headline_metric: str | None = None,
    groups: Sequence[str] = tuple(GROUP_TITLES),
    max_scored: int | None = None,
) -> Path:
    """Write a page about a model, which needs no other file and no network.

    Args:
        path: The HTML file; its folder is created.
        title: Heading of the page.
        evaluation: Scores, scores of every stage and predictions, as `poseplug.engine.evaluate` returns them.
        skeleton: The skeleton of annotations and predictions.
        curve_file: A run's `curve.jsonl`.
        predict_heatmaps: Returns the heatmaps of a record, such as `Predictor.predict_record_heatmaps`.
        images: Captions, and further images (H, W, 3; BGR).
        run_info: What the reader should know about the run: command, time, config, parameters.
        num_examples: Number of images in each group: best, median, worst, random.
        headline_metric: Name of the score at the top of the page; PCK@0.2 by default where there is one.
        groups: Which of the groups 'best', 'median', 'worst' and 'random' are shown.
        max_scored: Number of images, spread evenly, that examples are selected from; None for all.

    Returns:
        The path.

    Raises:
        ConfigError: There is no score with the name `headline_metric`, or `curve_file` cannot be read.

    Example:
        >>> import tempfile
        >>> from poseplug.evaluation.results import EvaluationResult
        >>> from poseplug.skeletons.lsp import LSP
        >>> evaluation = EvaluationResult(MetricResult({'PCK@0.2': 61.0}))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     html = write_html_report(f'{folder}/report.html', 'My model', evaluation, LSP).read_text()
        >>> '61.0' in html
        True
    """
    predictions = evaluation.predictions
    if max_scored is not None and len(predictions) > max_scored:
        # spread evenly, since neighbors in a data set often come from one video
        indices = np.linspace(0, len(predictions) - 1, max_scored).round().astype(int)
        predictions = [predictions[index] for index in indices]
    selected = select_examples(predictions, skeleton, num_examples)
    examples = [example for example in selected if example.group in groups]
    metric = select_headline_metric(evaluation.scores, headline_metric)
    strips = render_heatmap_strips(examples, skeleton, predict_heatmaps) if predict_heatmaps else ''
    parts = [
        _render_header(title, evaluation, skeleton, metric),
        render_section('Scores', _render_score_tables(evaluation, skeleton, metric)),
        render_section('Curves', _render_charts(evaluation, curve_file, metric)),
        render_section('Predictions', render_prediction_grid(examples, skeleton)),
        render_section('Heatmaps', strips),
        render_section('Images', render_image_grid((escape(caption), image) for caption, image in images)),
        render_section('Skipped', render_bullet_list([*evaluation.scores.notes, *evaluation.source_reports])),
        render_section('Run', _render_run_info(run_info or {})),
    ]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, render_html_page(title, ''.join(parts)).encode())
    return file


# --- scores -----------------------------------------------------------------------------------------------------------


def select_headline_metric(scores: MetricResult, requested_metric: str | None = None) -> str | None:
    """Select the score at the top of the page: the requested one, PCK@0.2, or the first total.

    Raises:
        ConfigError: There is no score with the requested name.
    """
    totals = _select_total_values(scores)
    if requested_metric is not None and requested_metric not in totals:
        names = ', '.join(totals) or 'none'
        raise ConfigError(f'no score is called {requested_metric!r}; known: {names}')
    default = 'PCK@0.2' if 'PCK@0.2' in totals else next(iter(totals), None)
    return requested_metric or default


def _select_total_values(scores: MetricResult) -> dict[str, float]:
    """The values that do not belong to a single keypoint or group."""
    return {name: value for name, value in scores.values.items() if '/' not in name}


def _render_header(title: str, evaluation: EvaluationResult, skeleton: Skeleton, headline_metric: str | None) -> str:
    """Title and headline score, with what left and right mean in it."""
    count = f'{len(evaluation.predictions):,} images, {len(skeleton)} keypoints of {skeleton.name!r}'
    headline = ''
    if headline_metric is not None:
        score = f'<span class="score">{format_report_score(evaluation.scores.values[headline_metric])}</span>'
        headline = f'<p>{score} {escape(headline_metric)}, {skeleton.centric}-centric</p>'
    note = f'<p class="soft">{escape(count)}. {escape(_describe_centric(skeleton))}</p>'
    return f'<h1>{escape(title)}</h1>{headline}{note}'


def _describe_centric(skeleton: Skeleton) -> str:
    """What left and right mean in the labels."""
    if skeleton.centric == 'person':
        return "Person-centric: left is the person's own left."
    return "Observer-centric: left is the image's left."


def _render_score_tables(evaluation: EvaluationResult, skeleton: Skeleton, headline_metric: str | None) -> str:
    """A row for each keypoint and a column for each stage of the headline score, then the other totals."""
    stages = list(evaluation.stage_scores) or [evaluation.scores]
    lower_is_better = evaluation.scores.lower_is_better
    columns = [f'stage {t + 1}' for t in range(len(stages))] if evaluation.stage_scores else ['last stage']

    def stage_values(name: str) -> list[float]:
        return [scores.values.get(name, math.nan) for scores in stages]

    tables = ''
    metric = _select_keypoint_metric(evaluation.scores, headline_metric)
    if metric is not None:
        prefix = f'{metric}/'
        keypoints = [name.removeprefix(prefix) for name in evaluation.scores.values if name.startswith(prefix)]
        rows = [(keypoint, stage_values(prefix + keypoint)) for keypoint in keypoints]
        rows.append(('total', stage_values(metric)))
        caption = f'{metric} by keypoint, {skeleton.centric}-centric'
        lower_rows = [name for name, _ in rows] if metric in lower_is_better else ()
        tables += _render_score_table(caption, ['keypoint', *columns], rows, lower_rows, last_is_total=True)
    others = [name for name in _select_total_values(evaluation.scores) if name != metric]
    if others:
        caption = f'Other scores, {skeleton.centric}-centric'
        rows = [(name, stage_values(name)) for name in others]
        tables += _render_score_table(caption, ['score', *columns], rows, lower_is_better)
    return tables


def _select_keypoint_metric(scores: MetricResult, headline_metric: str | None) -> str | None:
    """The score with a row per keypoint: the one at the top of the page, else the last one that has such scores."""
    by_keypoint = [
        name for name in _select_total_values(scores) if any(v.startswith(f'{name}/') for v in scores.values)
    ]
    return headline_metric if headline_metric in by_keypoint or not by_keypoint else by_keypoint[-1]


def _render_score_table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float]]],
    lower_rows: Container[str],
    last_is_total: bool = False,
) -> str:
    """Named rows of numbers; the best of several in a row is marked, which is the lowest in `lower_rows`."""
    header = ''.join(f'<th>{escape(column)}</th>' for column in columns)
    body = ''
    for index, (name, values) in enumerate(rows):
        finite = [value for value in values if math.isfinite(value)]
        best = None
        if len(values) > 1 and finite:
            # of one column there is no best
            best = min(finite) if name in lower_rows else max(finite)
        cells = ''.join(_render_score_cell(value, is_best=value == best) for value in values)
        mark = ' class="sum"' if last_is_total and index == len(rows) - 1 else ''
        body += f'<tr{mark}><td>{escape(name.replace("_", " "))}</td>{cells}</tr>'
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><tr>{header}</tr>{body}</table></div>'


def _render_score_cell(value: float, is_best: bool) -> str:
    mark = ' class=best' if is_best else ''
    return f'<td{mark}>{format_report_score(value)}</td>'


def _render_charts(evaluation: EvaluationResult, curve_file: str | Path | None, headline_metric: str | None) -> str:
    """Learning curve, PCK over the threshold, and what each stage adds."""
    stages = evaluation.stage_scores
    charts = [] if curve_file is None else build_learning_charts(read_curve(curve_file))
    if evaluation.scores.curves:
        charts.append(build_pck_chart(evaluation.scores))
    # A metric's label may stand before the name, as in 'coco:mean'.
    mean_curves = [name for name in evaluation.scores.curves if name.rpartition(':')[2] == 'mean']
    if len(stages) > 1:
        charts += [build_stage_chart(stages, name) for name in mean_curves]
    rendered = [render_line_chart(chart) for chart in charts]
    if len(stages) > 1 and headline_metric is not None:
        names = [f'stage {t + 1}' for t in range(len(stages))]
        values = [scores.values.get(headline_metric, math.nan) for scores in stages]
        rendered.append(render_bar_chart(f'{headline_metric} by stage', names, values))
    return f'<div class="charts">{"".join(rendered)}</div>' if rendered else ''


# --- the run --------------------------------------------------------------------------------------------------------


def _render_run_info(run_info: Mapping[str, Any]) -> str:
    """A table of names and values."""
    rows = ''.join(f'<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>' for k, v in run_info.items())
    return f'<table class="run-info">{rows}</table>' if rows else ''
