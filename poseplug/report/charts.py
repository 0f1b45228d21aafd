"""Line and bar charts by matplotlib: as SVG for light and dark pages, and as PNG files.

matplotlib is imported when a chart is drawn, not with this module: training reads its curves here, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.core.errors import ConfigError
from poseplug.evaluation.base import MetricResult
from poseplug.report.chart_figure import (
    FILE_TEXT_COLOR,
    PAGE_TEXT_COLOR,
    SERIES_COLORS,
    apply_chart_settings,
    build_chart_figure,
    build_element_id,
    quote_math,
    render_figure_svg,
    save_figure_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASH_PATTERNS: Sequence[tuple[float, Sequence[float]]] = ((0, ()), (0, (4, 2)), (0, (1, 1.5)))
_CHART_HEIGHT_PX = 300
_BAR_CHART_FRAME_PX, _BAR_ROW_HEIGHT_PX = 52, 26
_LEGEND_ROW_HEIGHT_PX = 18
_LEGEND_COLUMNS = ((20, 3), (32, 2))  # characters of the longest name, and as many columns as fit
_MAX_MARKED_POINTS = 20  # lines with more points are drawn without dots
_NON_METRIC_KEYS = ('step', 'lr', 'samples_per_second', 'data_wait_fraction', 'memory_mib')  # neither loss nor metric


@dataclass(frozen=True)
class Series:
    """One line of a chart: a name and as many `x` as `y`."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """A line chart, independent of how it is drawn.

    Attributes:
        title: Text above the chart.
        x_label: Text below the x axis.
        y_label: Text beside the y axis.
        series: The lines.
        log_scale: Whether the y axis is logarithmic.
        y_range: Ends of the y axis; by default it fits the values.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_scale: bool = False
    y_range: tuple[float, float] | None = None


# --- what is drawn ----------------------------------------------------------------------------------------------------


def read_curve(file: str | Path) -> list[dict[str, float]]:
    """Read a run's `curve.jsonl`.

    A line that is not complete, as a stopped run leaves it, is skipped. A resumed run writes some steps again: the
    later line replaces the earlier one.

    Args:
        file: The file in the work dir of a training.

    Returns:
        One dict of names and values for each line, sorted by step.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        lines = Path(file).read_text(errors='replace').splitlines()
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{file}: {reason}; name the curve.jsonl in the work dir of a training') from error
    rows: dict[tuple[float, bool], dict[str, float]] = {}
    for line in lines:
        try:
            values = {k: float(v) for k, v in json.loads(line).items()}
            # a training line and an evaluation of one step are two rows
            rows[(values['step'], 'loss' in values)] = values
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
    return [rows[key] for key in sorted(rows)]


def build_learning_charts(lines: Sequence[Mapping[str, float]]) -> list[Chart]:
    """Build the charts of a training: the losses over the steps and, if any were measured, the validation metrics.

    Args:
        lines: The rows of `read_curve`.

    Returns:
        At most two charts; none for an empty curve.
    """
    charts = []
    losses = [key for key in _collect_keys(lines) if key.startswith('loss')]
    validation_losses = [key for key in losses if key == 'loss_val']
    single_losses = [key for key in losses if key not in ('loss', *validation_losses)]
    if losses:
        # the total of several losses is left out: it would be the largest line and flatten the others
        keys = [*(single_losses if len(single_losses) > 1 else ['loss']), *validation_losses]
        series = [_build_series(lines, key, _format_loss_name(key)) for key in keys]
        charts.append(Chart('Learning curve', 'step', 'loss', series, log_scale=_needs_log_scale(series)))
    metrics = [key for key in _collect_keys(lines) if key not in losses and key not in _NON_METRIC_KEYS]
    if metrics:
        series = [_build_series(lines, key, key) for key in metrics]
        charts.append(Chart('Validation metrics', 'step', 'percent', series))
    return charts


def _collect_keys(lines: Sequence[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(key for line in lines for key in line))


def _build_series(lines: Sequence[Mapping[str, float]], key: str, name: str) -> Series:
    rows = [line for line in lines if key in line]
    return Series(name, [row['step'] for row in rows], [row[key] for row in rows])


def _format_loss_name(key: str) -> str:
    """`loss_2` as 'stage 2', `loss_box` as 'box', `loss_val` as 'validation', `loss` as it is."""
    if not key.startswith('loss_'):
        return key
    part = key.removeprefix('loss_')
    if part == 'val':
        return 'validation'
    return f'stage {part}' if part.isdigit() else part


def _needs_log_scale(series: Sequence[Series]) -> bool:
    """Whether all values are positive and span more than a factor of ten: then a logarithmic axis shows more."""
    values = [y for line in series for y in line.y if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def build_pck_chart(scores: MetricResult, title: str = 'PCK over the threshold') -> Chart:
    """Build the chart of all curves of a PCK metric: their mean, and every group of keypoints."""
    series = [Series(name, x, y) for name, (x, y) in scores.curves.items()]
    return Chart(title, _label_threshold(scores), 'correct keypoints, percent', series, y_range=(0, 100))


def _label_threshold(scores: MetricResult) -> str:
    """The label of the thresholds of PCK or PCKh, or of both."""
    kinds = {name.rpartition(':')[2].partition('@')[0] for name in scores.values} & {'PCK', 'PCKh'}
    units = {'PCK': 'torso lengths', 'PCKh': 'head sizes'}
    names = [units[kind] for kind in sorted(kinds) or ['PCK']]
    return f'threshold, in {" or ".join(names)}'


def build_stage_chart(stages: Sequence[MetricResult], curve_name: str = 'mean') -> Chart:
    """Build the chart of one PCK curve at every stage of a model; stages without that curve are skipped."""
    curves = [(t, scores.curves[curve_name]) for t, scores in enumerate(stages) if curve_name in scores.curves]
    series = [Series(f'stage {t + 1}', x, y) for t, (x, y) in curves]
    title = f'Stage by stage, {curve_name}'
    label = _label_threshold(stages[-1]) if stages else 'threshold'
    return Chart(title, label, 'correct keypoints, percent', series, y_range=(0, 100))


# --- drawing ----------------------------------------------------------------------------------------------------------


def render_line_chart(chart: Chart) -> str:
    """Render a chart as one SVG element, whose text takes the color of the text around it.

    Points that are not finite, or not positive on a logarithmic axis, are skipped.

    Raises:
        ConfigError: matplotlib is not installed.

    Example:
        >>> svg = render_line_chart(Chart('Loss', 'step', 'loss', [Series('train', [0, 10, 20], [3.0, 2.0, 1.5])]))
        >>> svg.startswith('<svg') and svg.endswith('</svg>')
        True
    """
    with apply_chart_settings(PAGE_TEXT_COLOR):
        figure, names = _draw_line_chart(chart)
        return render_figure_svg(figure, chart.title, names)


def render_bar_chart(
    title: str, names: Sequence[str], values: Sequence[float], max_value: float = 100.0, unit: str = ''
) -> str:
    """Render horizontal bars as one SVG element, with their values beside them.

    Args:
        title: Text above the bars.
        names: A name for each bar.
        values: A value for each bar; one that is not finite gets no bar and the text 'none'.
        max_value: Value of a bar of full length.
        unit: Text after each value.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    lengths = [min(max(value, 0.0), max_value) if math.isfinite(value) else 0.0 for value in values]
    texts = [f'{value:.1f}{unit}' if math.isfinite(value) else 'none' for value in values]
    with apply_chart_settings(PAGE_TEXT_COLOR):
        figure, axes = build_chart_figure(title, _BAR_CHART_FRAME_PX + len(names) * _BAR_ROW_HEIGHT_PX)
        bars = axes.barh(range(len(names)), lengths, height=0.6, color=SERIES_COLORS[0])
        for index, bar in enumerate(bars):
            bar.set_gid(build_element_id(index))
        axes.bar_label(bars, texts, padding=4)
        axes.set_yticks(range(len(names)), [quote_math(name) for name in names])
        axes.invert_yaxis()  # the first bar on top
        # room for the value beside a bar of full length
        axes.set(xlim=(0, max_value * 1.15), xticks=[])
        axes.spines['bottom'].set_visible(False)
        return render_figure_svg(figure, title, names)


def save_svg(svg: str, file: str | Path) -> Path:
    """Write an SVG element of this module to a file of its own, on white; returns the path."""
    head, _, rest = svg.partition('>')
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} color="{FILE_TEXT_COLOR}">{background}{rest}')
    return path


def save_png(chart: Chart, file: str | Path) -> Path:
    """Write a chart as a PNG file, on white; returns the path.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    return save_figure_png(lambda: _draw_line_chart(chart)[0], file)


# --- parts of the drawing ---------------------------------------------------------------------------------------------


def _draw_line_chart(chart: Chart) -> tuple[Figure, list[str]]:
    """Draw a chart; returns it and the names of the lines that have points."""
    lines = [_drop_undrawable_points(series, chart.log_scale) for series in chart.series]
    lines = [series for series in lines if series.x]
    longest = max((len(series.name) for series in lines), default=0)
    num_columns = next((count for length, count in _LEGEND_COLUMNS if longest <= length), 1)
    num_legend_rows = -(-len(lines) // num_columns) if len(lines) > 1 else 0
    figure, axes = build_chart_figure(chart.title, _CHART_HEIGHT_PX + num_legend_rows * _LEGEND_ROW_HEIGHT_PX)
    for index, series in enumerate(lines):
        (line,) = axes.plot(series.x, series.y, color=SERIES_COLORS[index % len(SERIES_COLORS)])
        # The dashes change once all colors are used.
        line.set_linestyle(_DASH_PATTERNS[index // len(SERIES_COLORS) % len(_DASH_PATTERNS)])
        line.set_marker('o' if len(series.x) <= _MAX_MARKED_POINTS else 'None')
        line.set(label=quote_math(series.name), gid=build_element_id(index))
    _set_axes(axes, chart)
    if not lines:
        axes.text(0.5, 0.5, 'no data', transform=axes.transAxes, ha='center')
    if num_legend_rows:
        figure.legend(handles=axes.get_lines(), loc='outside lower center', ncols=num_columns)
    return figure, [series.name for series in lines]


def _set_axes(axes: Axes, chart: Chart) -> None:
    """Set labels, scales, ticks and grid."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    y_label = chart.y_label + (' (log)' if chart.log_scale else '')
    axes.set(xlabel=quote_math(chart.x_label), ylabel=quote_math(y_label))
    if chart.log_scale:
        axes.set_yscale('log')
        # ticks at 1, 2 and 5 of each power of ten, since losses often span less than one
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if chart.y_range:
        axes.set_ylim(*chart.y_range)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))
    axes.grid(axis='y')


def _drop_undrawable_points(series: Series, log_scale: bool) -> Series:
    pairs = [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_scale)
    ]
    return Series(series.name, [x for x, _ in pairs], [y for _, y in pairs])


def _format_tick(value: float) -> str:
    return f'{value / 1000:g}k' if abs(value) >= 10000 else f'{value:g}'
