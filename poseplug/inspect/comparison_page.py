"""One page about several test runs: paired differences, error kinds, and the images where the runs differ most."""

from __future__ import annotations

__all__ = ['write_comparison_page']

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.evaluation.keypoint_errors import ERROR_KINDS, Interval
from poseplug.evaluation.prediction_file import ImagePredictions
from poseplug.files.atomic import write_atomically
from poseplug.files.images import IMAGE_SUFFIXES, read_image
from poseplug.inspect.compare import MEASURES, Comparison, chart_reliability
from poseplug.report.charts import render_bar_chart, render_line_chart
from poseplug.report.draw import draw_poses, draw_side_by_side
from poseplug.report.html_parts import format_report_score, render_html_page, render_image_grid, render_section
from poseplug.report.interval_chart import IntervalChart, IntervalRow, render_interval_chart

_HEADLINE_MEASURE = MEASURES[0]


def write_comparison_page(
    path: Path, comparison: Comparison, image_folder: Path | None = None, num_images: int = 6
) -> Path:
    """Write a page about one result or several, which needs no other file and no network.

    Args:
        path: the HTML file; its folder is created.
        comparison: of the results.
        image_folder: where the images are, at any depth; None shows their names and scores alone.
        num_images: number of images in each group.

    Returns:
        The path.

    Raises:
        ConfigError: matplotlib is not installed, or the folder has none of the images.
    """
    files = {} if image_folder is None else _find_images(image_folder, comparison)
    title = ' against '.join([', '.join(comparison.names[1:]), comparison.names[0]]).removeprefix(' against ')
    body = ''.join([
        f'<h1>{escape(title)}</h1>{_render_headline(comparison)}',
        render_section('Paired differences', _render_differences(comparison)),
        render_section('Measures', _render_table(comparison)),
        render_section('Kinds of error', _render_error_chart(comparison)),
        render_section('Scores', render_line_chart(chart_reliability(comparison))),
        render_section('Images', _render_groups(comparison, files, num_images)),
    ])  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render_html_page(title, body).encode())
    return path


def _find_images(folder: Path, comparison: Comparison) -> dict[str, Path]:
    """The files of the images, by the names that results have for them."""
    paths: dict[str, list[Path]] = {}
    for file in folder.rglob('*'):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            paths.setdefault(file.name, []).append(file)
    # a result names the file without its folder; a name in two folders could be either
    by_image = {image.image: paths.get(_get_file_name(image), []) for image in comparison.results[0].images}
    files = {name: matching[0] for name, matching in by_image.items() if len(matching) == 1}
    if not files:
        example = _get_file_name(comparison.results[0].images[0])
        raise ConfigError(
            f'--images {folder}: no image of the results is there exactly once; name the folder of {example}'
        )
    return files


def _get_file_name(image: ImagePredictions) -> str:
    """The name of an image's file; results put its source and id in parentheses behind it."""
    return image.image.partition(' (')[0]


def _render_headline(comparison: Comparison) -> str:
    """The difference of the second result to the first one, or the score of the only one."""
    if len(comparison.names) == 1:
        value = comparison.values[_HEADLINE_MEASURE][0]
        return f'<p class="score">{value.value:.1f}</p><p>{_HEADLINE_MEASURE}, 95 % interval {_format_range(value)}</p>'
    lines = []
    for name, difference in zip(comparison.names[1:], comparison.differences[_HEADLINE_MEASURE][1:], strict=True):
        verdict = 'these images do not tell the two apart'
        if difference.low > 0 or difference.high < 0:
            rank = 'better' if difference.value > 0 else 'worse'
            verdict = f'{name} is {rank} on these images'
        lines.append(
            f'<p class="score">{difference.value:+.2f}</p><p>{_HEADLINE_MEASURE} of {escape(name)} minus that of '
            f'{escape(comparison.names[0])}, 95 % interval {_format_range(difference)}: {escape(verdict)}</p>'
        )
    left_out = f'; {comparison.num_left_out:,} are left out' if comparison.num_left_out else ''
    lines.append(f'<p class="soft">{comparison.num_images:,} images that all results have{left_out}</p>')
    return ''.join(lines)


def _format_range(interval: Interval) -> str:
    return f'{interval.low:.2f} to {interval.high:.2f}'


def _render_differences(comparison: Comparison) -> str:
    """A chart of the paired differences of each result to the first one; nothing for one result."""
    charts = ''
    for i, name in enumerate(comparison.names[1:], 1):
        intervals = {measure: comparison.differences[measure][i] for measure in MEASURES}
        rows = [IntervalRow(m, [], v.value, v.low, v.high) for m, v in intervals.items()]
        title = f'{name} minus {comparison.names[0]}'
        charts += render_interval_chart(IntervalChart(title, 'percentage points, with 95 % intervals', rows))
    note = (
        '<p class="soft">On the same images in every resample. An interval without 0 speaks for a difference; it says '
        'nothing about other seeds of the training.</p>'
    )
    return f'<div class="charts">{charts}</div>{note}' if charts else ''


def _render_table(comparison: Comparison) -> str:
    """The measures of all results, and their differences to the first one."""
    names = [escape(name) for name in comparison.names]
    heads = ''.join(f'<th>{name}</th>' for name in [*names, *(f'{name} minus {names[0]}' for name in names[1:])])
    rows = ''
    for measure in MEASURES:
        # the first difference is that of the first result to itself
        rows += _render_row(measure, [*comparison.values[measure], *comparison.differences[measure][1:]])
    caption = 'Percent, with 95 % intervals over images'
    return f'<div class="wide"><table><caption>{caption}</caption><tr><th></th>{heads}</tr>{rows}</table></div>'


def _render_row(name: str, cells: Sequence[object]) -> str:
    """A row of a table: its name, then a cell for each value."""
    values = ''.join(f'<td>{escape(str(cell))}</td>' for cell in cells)
    return f'<tr><td>{escape(name)}</td>{values}</tr>'


def _render_error_chart(comparison: Comparison) -> str:
    bars = [(kind, i) for kind in ERROR_KINDS for i in range(len(comparison.names))]
    labels = [f'{kind}, {comparison.names[i]}' for kind, i in bars]
    values = [comparison.values[kind][i].value for kind, i in bars]
    return render_bar_chart('Labeled keypoints by kind of error', labels, values, unit=' %')


def _render_groups(comparison: Comparison, files: dict[str, Path], num_images: int) -> str:
    """The images of each group, the first ones by its ranks."""
    content = ''
    for title, ranks in _rank_images(comparison):
        # an image without labeled keypoints has no OKS, and one of rank 0 or above is none of the group
        order = [i for i in np.argsort(ranks, kind='stable').tolist() if ranks[i] < 0]
        content += _render_group(title, comparison, files, order[:num_images])
    panels = ' | '.join(map(escape, ('annotated', *comparison.names)))
    note = f'<p class="soft">Side by side: {panels}. The numbers are the mean OKS of the image in each result.</p>'
    missing = '<p class="soft">Name the folder of the images by --images to see them.</p>'
    return (note if files else missing) + content


def _rank_images(comparison: Comparison) -> list[tuple[str, np.ndarray]]:
    """The title of each group of images, and ranks (number of images,) below 0 of those that belong to it."""
    first = comparison.oks[0]
    groups: list[tuple[str, np.ndarray]] = []
    for name, oks in zip(comparison.names[1:], comparison.oks[1:], strict=True):
        groups.append((f'{name} is worse than {comparison.names[0]}', oks - first))
        groups.append((f'{name} is better than {comparison.names[0]}', first - oks))
    if not groups:
        # below 0 for all, since an OKS is at most 1
        groups.append(('Lowest OKS', first - 2))
    # symmetric and occluded parts are what single cells of a heatmap cannot tell (figure 10 of Wei et al. 2016)
    groups.append(('Most keypoints at another one of the person', -comparison.inversions.sum(axis=0)))
    groups.append(('Most occluded keypoints', -comparison.num_occluded))
    return groups


def _render_group(title: str, comparison: Comparison, files: dict[str, Path], indices: Sequence[int]) -> str:
    """Images with the OKS of every result: drawn, or as a table where their files are not there."""
    if not indices:
        return ''
    drawings, rows = [], ''
    for i in indices:
        name = comparison.results[0].images[i].image
        scores = [format_report_score(100 * oks) for oks in comparison.oks[:, i]]
        rows += _render_row(name, scores)
        if name in files:
            score_text = ' | '.join(scores)
            caption = f'<b>{score_text}</b> <span class="soft">{escape(name)}</span>'
            drawings.append((caption, _draw_results(comparison, files[name], i)))
    heads = ''.join(f'<th>{escape(name)}</th>' for name in comparison.names)
    table = f'<div class="wide"><table><tr><th>image</th>{heads}</tr>{rows}</table></div>'
    content = render_image_grid(drawings) if drawings else table
    return f'<h3>{escape(title)}</h3>{content}'


def _draw_results(comparison: Comparison, file: Path, index: int) -> np.ndarray:
    """The annotated instances of an image, and those of every result, side by side."""
    image, skeleton = read_image(file, apply_exif=False), comparison.results[0].skeleton
    annotated = comparison.results[0].images[index]
    poses = [Poses.from_annotations(annotated.annotated, annotated.visible)]
    for result in comparison.results:
        predicted = result.images[index]
        poses.append(Poses(predicted.predicted, predicted.keypoint_scores, predicted.scores))
    return draw_side_by_side([draw_poses(image, each, skeleton) for each in poses])
