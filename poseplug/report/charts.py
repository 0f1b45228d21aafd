"""Line and bar charts as hand-written SVG without a dependency, for light and dark pages; as PNG through matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from poseplug.core.errors import ConfigError
from poseplug.evaluation.base import MetricResult

# distinct on white and on black and, together with the dashes, for color-blind readers
_SERIES_COLORS = ('#3b82f6', '#f59e0b', '#10b981', '#ef4444', '#a855f7', '#06b6d4', '#ec4899', '#84a016')
_DASH_PATTERNS = ('', '7 4', '2 3')
_MATPLOTLIB_DASHES = ('-', '--', ':')
_CHART_WIDTH_PX, _CHART_HEIGHT_PX = 480, 300
_MARGIN_LEFT_PX, _MARGIN_RIGHT_PX, _MARGIN_TOP_PX, _MARGIN_BOTTOM_PX = 58, 16, 34, 44
_PLOT_RIGHT_PX, _PLOT_BOTTOM_PX = _CHART_WIDTH_PX - _MARGIN_RIGHT_PX, _CHART_HEIGHT_PX - _MARGIN_BOTTOM_PX
_LEGEND_ROW_HEIGHT_PX, _LEGEND_ENTRY_WIDTH_PX = 18, 136
_BAR_ROW_HEIGHT_PX = 26
_MAX_MARKED_POINTS = 20  # lines with more points are drawn without dots
_NON_METRIC_KEYS = ('step', 'lr', 'samples_per_second', 'data_wait_fraction', 'memory_mib')  # neither loss nor metric
_SVG_STYLE = (
    'text{font:12px system-ui,sans-serif;fill:currentColor}.t{font-weight:600;font-size:14px}'
    '.g{stroke:currentColor;opacity:.15}.a{stroke:currentColor;opacity:.6}.s{fill:none;stroke-width:2}'
)


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
    single_losses = [key for key in losses if key != 'loss']
    if losses:
        keys = single_losses if len(single_losses) > 1 else ['loss']
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
    """`loss_2` as 'stage 2', `loss_box` as 'box', `loss` as it is."""
    if not key.startswith('loss_'):
        return key
    part = key.removeprefix('loss_')
    return f'stage {part}' if part.isdigit() else part


def _needs_log_scale(series: Sequence[Series]) -> bool:
    """Whether all values are positive and span more than a factor of ten: then a logarithmic axis shows more."""
    values = [y for line in series for y in line.y if math.isfinite(y)]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def build_pck_chart(scores: MetricResult, title: str = 'PCK over the threshold') -> Chart:
    """Build the chart of all curves of a PCK metric: their mean, and every group of keypoints."""
    series = [Series(name, x, y) for name, (x, y) in scores.curves.items()]
    return Chart(title, 'threshold, in torso lengths', 'correct keypoints, percent', series, y_range=(0, 100))


def build_stage_chart(stages: Sequence[MetricResult], curve_name: str = 'mean') -> Chart:
    """Build the chart of one PCK curve at every stage of a model; stages without that curve are skipped."""
    curves = [(t, scores.curves[curve_name]) for t, scores in enumerate(stages) if curve_name in scores.curves]
    series = [Series(f'stage {t + 1}', x, y) for t, (x, y) in curves]
    title = f'Stage by stage, {curve_name}'
    return Chart(title, 'threshold, in torso lengths', 'correct keypoints, percent', series, y_range=(0, 100))


# --- SVG --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axes:
    """The ranges of both axes, and where values lie in the chart."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    log_scale: bool

    def x_to_px(self, x: float) -> float:
        low, high = self.x_range
        return _MARGIN_LEFT_PX + (x - low) / (high - low) * (_PLOT_RIGHT_PX - _MARGIN_LEFT_PX)

    def y_to_px(self, y: float) -> float:
        low, high = self.y_range
        if self.log_scale:
            low, high, y = (math.log10(value) for value in (low, high, y))
        return _PLOT_BOTTOM_PX - (y - low) / (high - low) * (_PLOT_BOTTOM_PX - _MARGIN_TOP_PX)


def render_line_chart(chart: Chart) -> str:
    """Render a chart as one SVG element, whose text takes the color of the text around it.

    Points that are not finite, or not positive on a logarithmic axis, are skipped.

    Example:
        >>> svg = render_line_chart(Chart('Loss', 'step', 'loss', [Series('train', [0, 10, 20], [3.0, 2.0, 1.5])]))
        >>> svg.startswith('<svg') and svg.endswith('</svg>')
        True
    """
    lines = [_drop_undrawable_points(series, chart.log_scale) for series in chart.series]
    lines = [series for series in lines if series.x]
    if not lines:
        text = f'<text x="{_MARGIN_LEFT_PX}" y="{_MARGIN_TOP_PX + 30}">no data</text>'
        return _wrap_svg(chart.title, text, _MARGIN_TOP_PX + 60)
    if chart.log_scale:
        y_ticks = _compute_log_ticks(lines)
    else:
        y_ticks = _compute_ticks(*(chart.y_range or _value_range([y for series in lines for y in series.y])))
    x_range = _value_range([x for series in lines for x in series.x])
    axes = _Axes(x_range, chart.y_range or (y_ticks[0], y_ticks[-1]), chart.log_scale)
    parts = [_render_grid_line(_format_tick(y), axes.y_to_px(y)) for y in y_ticks]
    parts += _render_x_axis(axes)
    for index, series in enumerate(lines):
        parts += _render_series(series, index, axes)
    parts.append(_render_axis_labels(chart))
    legend, num_rows = _render_legend([series.name for series in lines])
    return _wrap_svg(chart.title, ''.join(parts) + legend, _CHART_HEIGHT_PX + num_rows * _LEGEND_ROW_HEIGHT_PX)


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
    """
    longest = max((len(name) for name in names), default=1)
    left = 16 + 7 * min(longest, 24)  # about 7 px for a letter
    px_per_unit = (_CHART_WIDTH_PX - left - 90) / max_value
    parts = []
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        y = _MARGIN_TOP_PX + index * _BAR_ROW_HEIGHT_PX
        is_drawn = math.isfinite(value)
        length = px_per_unit * min(max(value, 0), max_value) if is_drawn else 0
        text = f'{value:.1f}{unit}' if is_drawn else 'none'
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        rectangle = f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="16" rx="3"'
        parts.append(f'{rectangle} fill="{_SERIES_COLORS[0]}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 14}">{escape(text)}</text>')
    return _wrap_svg(title, ''.join(parts), _MARGIN_TOP_PX + len(names) * _BAR_ROW_HEIGHT_PX + 8)


def save_svg(svg: str, file: str | Path) -> Path:
    """Write an SVG element of this module to a file of its own, on white; returns the path."""
    head, _, rest = svg.partition('>')
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} color="#222">{background}{rest}')
    return path


def save_png(chart: Chart, file: str | Path) -> Path:
    """Write a chart as a PNG file through matplotlib; returns the path.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"{file}: a chart as PNG needs matplotlib ({error}); pip install 'poseplug[plots]', or save it as SVG"
        ) from error
    figure = Figure(figsize=(_CHART_WIDTH_PX / 75, _CHART_HEIGHT_PX / 75), layout='constrained')
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for index, series in enumerate(chart.series):
        color, dashes = _series_color(index), _MATPLOTLIB_DASHES[_dash_index(index)]
        axes.plot(series.x, series.y, color=color, label=series.name, linestyle=dashes)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_yscale('log' if chart.log_scale else 'linear')
    if chart.y_range:
        axes.set_ylim(*chart.y_range)
    if len(chart.series) > 1:
        axes.legend()
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(path))
    return path


# --- parts of an SVG chart --------------------------------------------------------------------------------------------


def _wrap_svg(title: str, content: str, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_CHART_WIDTH_PX} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}"><style>{_SVG_STYLE}</style>'
        f'<text class="t" x="16" y="20">{escape(title)}</text>{content}</svg>'
    )


def _render_grid_line(label: str, y: float) -> str:
    return (
        f'<line class="g" x1="{_MARGIN_LEFT_PX}" y1="{y:.1f}" x2="{_PLOT_RIGHT_PX}" y2="{y:.1f}"/>'
        f'<text x="{_MARGIN_LEFT_PX - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _render_x_axis(axes: _Axes) -> Iterator[str]:
    """The numbers below the x axis, then the axis."""
    low, high = axes.x_range
    for x in _compute_ticks(low, high):
        if low <= x <= high:
            position = f'x="{axes.x_to_px(x):.1f}" y="{_PLOT_BOTTOM_PX + 16}"'
            yield f'<text {position} text-anchor="middle">{_format_tick(x)}</text>'
    y = _PLOT_BOTTOM_PX
    yield f'<line class="a" x1="{_MARGIN_LEFT_PX}" y1="{y}" x2="{_PLOT_RIGHT_PX}" y2="{y}"/>'


def _render_series(series: Series, index: int, axes: _Axes) -> Iterator[str]:
    """A line, and dots at its points if they are few."""
    positions = [(axes.x_to_px(x), axes.y_to_px(y)) for x, y in zip(series.x, series.y, strict=True)]
    points = ' '.join(f'{x:.1f},{y:.1f}' for x, y in positions)
    title = f'<title>{escape(series.name)}</title>'
    yield f'<polyline class="s" {_format_stroke(index)} points="{points}">{title}</polyline>'
    if len(positions) <= _MAX_MARKED_POINTS:
        for x, y in positions:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{_series_color(index)}"/>'


def _render_axis_labels(chart: Chart) -> str:
    x, y = (_MARGIN_LEFT_PX + _PLOT_RIGHT_PX) / 2, (_MARGIN_TOP_PX + _PLOT_BOTTOM_PX) / 2
    y_label = escape(chart.y_label) + (' (log)' if chart.log_scale else '')
    return (
        f'<text x="{x:.0f}" y="{_PLOT_BOTTOM_PX + 34}" text-anchor="middle">{escape(chart.x_label)}</text>'
        f'<text x="14" y="{y:.0f}" text-anchor="middle" transform="rotate(-90 14 {y:.0f})">{y_label}</text>'
    )


def _render_legend(names: Sequence[str]) -> tuple[str, int]:
    """A legend below the chart and its number of rows; none for a single line."""
    if len(names) < 2:
        return '', 0
    num_columns = (_CHART_WIDTH_PX - _MARGIN_LEFT_PX) // _LEGEND_ENTRY_WIDTH_PX
    parts = []
    for index, name in enumerate(names):
        row, column = divmod(index, num_columns)
        x = _MARGIN_LEFT_PX + column * _LEGEND_ENTRY_WIDTH_PX
        y = _CHART_HEIGHT_PX + row * _LEGEND_ROW_HEIGHT_PX + 4
        parts.append(
            f'<line class="s" {_format_stroke(index)} x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}"/>'
            f'<text x="{x + 30}" y="{y + 4}">{escape(name[:15])}</text>'
        )
    return ''.join(parts), -(-len(names) // num_columns)


def _format_stroke(index: int) -> str:
    stroke = f'stroke="{_series_color(index)}"'
    dashes = _DASH_PATTERNS[_dash_index(index)]
    return f'{stroke} stroke-dasharray="{dashes}"' if dashes else stroke


def _series_color(index: int) -> str:
    return _SERIES_COLORS[index % len(_SERIES_COLORS)]


def _dash_index(index: int) -> int:
    """The dashes change once all colors are used."""
    return index // len(_SERIES_COLORS) % len(_DASH_PATTERNS)


# --- ranges and ticks -------------------------------------------------------------------------------------------------


def _drop_undrawable_points(series: Series, log_scale: bool) -> Series:
    pairs = [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log_scale)
    ]
    return Series(series.name, [x for x, _ in pairs], [y for _, y in pairs])


def _value_range(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest value, or values around the only one."""
    low, high = min(values), max(values)
    if high > low:
        return low, high
    return low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)


def _compute_ticks(low: float, high: float, target_count: int = 5) -> list[float]:
    """Round values, 1, 2 or 5 times a power of ten apart, from at or below `low` to at or above `high`."""
    min_step = (high - low) / target_count
    power = 10 ** math.floor(math.log10(min_step))
    step = next(multiple * power for multiple in (1, 2, 5, 10) if multiple * power >= min_step * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _compute_log_ticks(series: Sequence[Series]) -> list[float]:
    """1, 2 and 5 times the powers of ten, from at or below the lowest value to at or above the highest."""
    low, high = _value_range([y for line in series for y in line.y])
    if low <= 0:
        low = high / 10
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    candidates = [multiple * 10.0**exponent for exponent in exponents for multiple in (1, 2, 5)]
    first = max(i for i, value in enumerate(candidates) if value <= low * 1.0001)
    last = min(i for i, value in enumerate(candidates) if value >= high * 0.9999)
    return candidates[first : last + 1]


def _format_tick(value: float) -> str:
    return f'{value / 1000:g}k' if abs(value) >= 10000 else f'{value:g}'
