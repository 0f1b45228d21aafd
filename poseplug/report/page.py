"""A self-contained HTML page about a model: scores, curves, predictions beside annotations, heatmaps by stage."""

from __future__ import annotations

__all__ = [
    'ReportExample',
    'render_bullet_list',
    'render_html_page',
    'render_image_grid',
    'render_section',
    'score_image',
    'select_examples',
    'select_headline_metric',
    'write_html_report',
]

import base64
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import MetricResult
from poseplug.evaluation.distance_collector import InstanceMode
from poseplug.evaluation.pck import PCK
from poseplug.files.atomic import write_atomically
from poseplug.files.images import read_image
from poseplug.report.charts import (
    build_learning_charts,
    build_pck_chart,
    build_stage_chart,
    read_curve,
    render_bar_chart,
    render_line_chart,
)
from poseplug.report.draw import MIN_SIDE_PX, draw_poses, letterbox_image
from poseplug.report.drawing_style import SIDE_COLORS
from poseplug.report.heatmaps import draw_heatmap_strips

if TYPE_CHECKING:
    from poseplug.evaluation.results import EvaluationResult
    from poseplug.fields.heatmap_stages import HeatmapStages

# Score of a single image: what its PCK is normalized by, and the threshold.
_TORSO_RULE, _BOX_RULE = ('torso', 0.2), ('box', 0.1)
_GROUP_TITLES = {'best': 'Highest PCK', 'median': 'Median PCK', 'worst': 'Lowest PCK', 'random': 'Random'}
_STRIP_HEIGHT_PX = 112
_PAIR_GAP_PX = 4

_PAGE_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1c1f24;--soft:#667;--line:#d8dbe0;--card:#f5f6f8;--mark:#1d6fd8}
@media(prefers-color-scheme:dark){:root{--ground:#14161a;--text:#e6e8ec;--soft:#9aa3af;--line:#333841;--card:#1d2026;
--mark:#6aa8ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:1rem;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
.score{font-size:3rem;font-weight:700;color:var(--mark);line-height:1}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}caption{text-align:left;color:var(--soft);padding:.2rem 0}
tr.sum td{font-weight:700}td.best{color:var(--mark)}
.run-info td{white-space:normal;overflow-wrap:anywhere;text-align:left}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.images{display:flex;flex-wrap:wrap;gap:.8rem}.images img{height:230px;width:auto;max-width:100%;object-fit:contain}
svg{width:100%;height:auto;background:var(--card);border-radius:8px}
figure{margin:0;background:var(--card);border-radius:8px;overflow:hidden}
figcaption{padding:.4rem .7rem;font-size:.85rem}
img{display:block}.wide{margin-bottom:1rem}
.legend b{padding:0 .35rem;border-radius:4px;color:#111}
"""


@dataclass(frozen=True)
class ReportExample:
    """One image of the page.

    Attributes:
        group: Why it is shown: 'best', 'median', 'worst' or 'random'.
        record: Its annotation.
        poses: Its prediction.
        score: Its own PCK, if it can be measured (`score_image`).
    """

    group: str
    record: Record
    poses: Poses
    score: float | None


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
    groups: Sequence[str] = tuple(_GROUP_TITLES),
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
    strips = _render_heatmap_strips(examples, skeleton, predict_heatmaps) if predict_heatmaps else ''
    parts = [
        _render_header(title, evaluation, skeleton, metric),
        render_section('Scores', _render_score_tables(evaluation, skeleton, metric)),
        render_section('Curves', _render_charts(evaluation, curve_file, metric)),
        render_section('Predictions', _render_prediction_grid(examples, skeleton)),
        render_section('Heatmaps', strips),
        render_section('Images', render_image_grid((escape(caption), image) for caption, image in images)),
        render_section('Skipped', render_bullet_list([*evaluation.scores.notes, *evaluation.source_reports])),
        render_section('Run', _render_run_info(run_info or {})),
    ]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, render_html_page(title, ''.join(parts)).encode())
    return file


# --- pieces that other pages use, too ---------------------------------------------------------------------------------


def render_html_page(title: str, body: str) -> str:
    """Render a complete HTML document in the style of all pages; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><style>{_PAGE_STYLE}</style></head><body>{body}</body></html>\n'
    )


def render_section(title: str, content: str) -> str:
    """Render a section with a heading, or nothing if its content, HTML, is empty."""
    return f'<section><h2>{escape(title)}</h2>{content}</section>' if content else ''


def render_image_grid(images: Iterable[tuple[str, np.ndarray]]) -> str:
    """Render images in a grid.

    Args:
        images: Captions, HTML, and images (H, W, 3; BGR).

    Returns:
        HTML; an empty string without images.
    """
    figures = ''.join(
        f'<figure>{_render_image_tag(image, "")}<figcaption>{caption}</figcaption></figure>'
        for caption, image in images
    )
    return f'<div class="images">{figures}</div>' if figures else ''


def render_bullet_list(lines: Sequence[str]) -> str:
    """Render sentences as a bullet list, or nothing if there are none."""
    items = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<ul>{items}</ul>' if lines else ''


def _render_image_tag(image: np.ndarray, alt_text: str, quality: int = 85) -> str:
    """An image (H, W, 3; BGR) inside the page itself."""
    # inside the page as base64, so that one file holds everything
    encoded, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f'an image of shape {image.shape} cannot be written as JPEG; pass a smaller one')
    source = base64.b64encode(data.tobytes()).decode()
    height, width = image.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{source}" width="{width}" height="{height}" alt="{escape(alt_text)}" '
        f'loading="lazy">'
    )


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
        score = f'<span class="score">{_format_score(evaluation.scores.values[headline_metric])}</span>'
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
            best = min(finite) if name in lower_rows else max(finite)
        cells = ''.join(_render_score_cell(value, is_best=value == best) for value in values)
        mark = ' class="sum"' if last_is_total and index == len(rows) - 1 else ''
        body += f'<tr{mark}><td>{escape(name.replace("_", " "))}</td>{cells}</tr>'
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><tr>{header}</tr>{body}</table></div>'


def _render_score_cell(value: float, is_best: bool) -> str:
    mark = ' class=best' if is_best else ''
    return f'<td{mark}>{_format_score(value)}</td>'


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


# --- examples ---------------------------------------------------------------------------------------------------------


def select_examples(
    predictions: Sequence[tuple[Record, Poses]], skeleton: Skeleton, num_examples: int = 6, seed: int = 0
) -> list[ReportExample]:
    """Select the best, median and worst images by their own score, and random ones among all others.

    Args:
        predictions: Annotation and prediction of each image, or of each crop.
        skeleton: The skeleton of both.
        num_examples: Number of images in each group; fewer if there are fewer images.
        seed: Seed of the random group.

    Returns:
        The images by group, each of them once.
    """
    is_whole_images = any(len(poses) > 1 for _, poses in predictions)  # rather than crops
    instances: InstanceMode = 'all' if is_whole_images else 'subject'
    scored = [(score_image(skeleton, record, poses, instances), record, poses) for record, poses in predictions]
    # by PCK, and by its area under the curve where that is equal, as it often is for one instance
    ranked = sorted((row for row in scored if row[0] is not None), key=lambda row: row[0] or (0, 0), reverse=True)
    groups = _group_by_rank(ranked, num_examples)
    # by identity: rows hold arrays, which do not compare to one truth value
    selected = {id(row) for rows in groups.values() for row in rows}
    others = [row for row in scored if id(row) not in selected]
    if ranked:
        # as many as the other groups have
        num_examples = min(num_examples, len(ranked) // 3)
    indices = np.random.default_rng(seed).permutation(len(others))[: max(num_examples, 1)]
    groups['random'] = [others[i] for i in sorted(indices)]
    return [
        ReportExample(group, record, poses, scores[0] if scores else None)
        for group, rows in groups.items()
        for scores, record, poses in rows
    ]


def _group_by_rank(ranked: list[Any], num_examples: int) -> dict[str, list[Any]]:
    """The first, middle and last rows; each of the groups holds at most a third of the rows."""
    count = min(num_examples, len(ranked) // 3)
    if not count:
        return {}
    middle = (len(ranked) - count) // 2
    return {
        'best': ranked[:count],
        'median': ranked[middle : middle + count],
        'worst': ranked[len(ranked) - count :],
    }


def score_image(
    skeleton: Skeleton, record: Record, poses: Poses, instances: InstanceMode = 'subject'
) -> tuple[float, float] | None:
    """Compute PCK and its area under the curve of one image, in percent.

    A skeleton with a torso has PCK@0.2 of it, another one PCK@0.1 of the longer side of the box.

    Args:
        skeleton: The skeleton of annotation and prediction.
        record: The annotation.
        poses: The prediction.
        instances: 'subject' for a crop, 'all' for a whole image.

    Returns:
        Both scores, or None where they cannot be measured: no predicted instance, no labeled torso, or no box.
    """
    if not len(poses):
        return None
    normalizer, threshold = _choose_image_rule(skeleton)
    metric = PCK(skeleton, (threshold,), max_threshold=threshold, normalizer=normalizer, instances=instances)
    metric.update(poses, record)
    values = metric.compute().values
    return (values[f'PCK@{threshold:g}'], values[f'AUC@{threshold:g}']) if values else None


def _choose_image_rule(skeleton: Skeleton) -> tuple[str, float]:
    """What the score of a single image is normalized by, and its threshold."""
    return _BOX_RULE if skeleton.torso is None else _TORSO_RULE


def _render_prediction_grid(examples: Sequence[ReportExample], skeleton: Skeleton) -> str:
    """Annotation (left) beside prediction (right), by group."""
    if not examples:
        return ''
    normalizer, threshold = _choose_image_rule(skeleton)
    size = 'torso' if normalizer == 'torso' else "box's longer side"
    legend = ' '.join(f'<b style="background:rgb{color[::-1]}">{side}</b>' for side, color in SIDE_COLORS.items())
    content = (
        f'<p class="soft legend">In each pair the annotation is on the left and the prediction on the right, {legend}. '
        f'Each carries its own PCK@{threshold:g}: the percentage of its labeled keypoints within {threshold:g} of its '
        f'{size}.</p>'
    )
    for group, title in _GROUP_TITLES.items():
        chosen = [example for example in examples if example.group == group]
        pairs = [(_render_caption(e, threshold), _draw_comparison(e, skeleton)) for e in chosen]
        if pairs:
            content += f'<h3>{title}</h3>{render_image_grid(pairs)}'
    return content


def _render_caption(example: ReportExample, threshold: float) -> str:
    """The name of an image with its own score, as HTML."""
    name = f'{example.record.source} {example.record.id}'.strip()  # ids of two sources may be equal
    score = 'not measured' if example.score is None else f'PCK@{threshold:g} {_format_score(example.score)}'
    return f'{escape(example.group)}: <b>{score}</b> <span class="soft">{escape(name)}</span>'


def _draw_comparison(example: ReportExample, skeleton: Skeleton) -> np.ndarray:
    """Annotation and prediction of one image, side by side."""
    image = read_image(example.record.path, apply_exif=False, byte_range=example.record.byte_range)
    # a top-down test with detected boxes has its annotations in `ground_truth`
    instances = (example.record.ground_truth or example.record).instances
    annotated = Poses.from_annotations(instances.keypoints, instances.visible)
    drawings = [draw_poses(image, poses, skeleton) for poses in (annotated, example.poses)]
    height, width = drawings[0].shape[:2]
    factor = min(1.0, MIN_SIDE_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    left, right = (letterbox_image(drawing, size) for drawing in drawings)
    return np.hstack([left, np.full((size[1], _PAIR_GAP_PX, 3), 128, np.uint8), right])


def _render_heatmap_strips(
    examples: Sequence[ReportExample], skeleton: Skeleton, predict_heatmaps: Callable[[Record], HeatmapStages]
) -> str:
    """All keypoints stage by stage, for the first image of each group."""
    if not examples:
        return ''
    content = '<p class="soft">Rows are stages, columns are keypoints; each heatmap lies over the network input.</p>'
    first_examples: dict[str, ReportExample] = {}
    for example in examples:
        first_examples.setdefault(example.group, example)
    for example in first_examples.values():
        strips = draw_heatmap_strips(predict_heatmaps(example.record), height_px=_STRIP_HEIGHT_PX)
        strips_tag = _render_image_tag(strips, example.record.id)
        caption = _render_caption(example, _choose_image_rule(skeleton)[1])
        content += f'<h3>{caption}</h3><div class="wide">{strips_tag}</div>'
    return content


def _render_run_info(run_info: Mapping[str, Any]) -> str:
    """A table of names and values."""
    rows = ''.join(f'<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>' for k, v in run_info.items())
    return f'<table class="run-info">{rows}</table>' if rows else ''


def _format_score(value: float) -> str:
    """One decimal, or a dash where there is no number."""
    return f'{value:.1f}' if math.isfinite(value) else '–'
