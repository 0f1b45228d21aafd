"""Curves and bars as SVG made by hand: crisp, in light and dark, without a dependency; as PNG through matplotlib."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Scores

# told apart on white and on black, and by people who see few colours (with the dashes)
COLORS = ('#3b82f6', '#f59e0b', '#10b981', '#ef4444', '#a855f7', '#06b6d4', '#ec4899', '#84a016')
DASHES = ('', '7 4', '2 3')
WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 44  # margins of a chart, px
LEGEND, ENTRY = 18, 136  # px high, px wide
RATE_KEYS = ('step', 'lr', 'samples_per_second', 'waiting', 'memory_mib')  # of curve.jsonl, neither loss nor metric
STYLE = (
    'text{font:12px system-ui,sans-serif;fill:currentColor}.t{font-weight:600;font-size:14px}'
    '.g{stroke:currentColor;opacity:.15}.a{stroke:currentColor;opacity:.6}.s{fill:none;stroke-width:2}'
)


@dataclass(frozen=True)
class Series:
    """One line of a chart, or the heights of its bars."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """What is drawn, whatever draws it. `log` is for the y axis; `y_range` fixes it."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log: bool = False
    y_range: tuple[float, float] | None = None


def read_curve(file: str | Path) -> list[dict[str, float]]:
    """The lines of a run's `curve.jsonl`; a line that a stopped run has broken is left out.

    A run that was resumed has written some steps twice: the later line holds.
    """
    try:
        lines = Path(file).read_text(errors='replace').splitlines()
    except OSError as error:
        raise ConfigError(
            f'{file}: {error.strerror or error}; it is written into the work dir of a training'
        ) from error
    found: dict[tuple[float, bool], dict[str, float]] = {}
    for line in lines:
        try:
            values = {k: float(v) for k, v in json.loads(line).items()}
            found[(values['step'], 'loss' in values)] = values
        except (ValueError, TypeError, AttributeError, KeyError):
            continue
    return [found[key] for key in sorted(found)]


def learning_charts(lines: Sequence[Mapping[str, float]]) -> list[Chart]:
    """The losses over the steps, and, where they were measured on the way, the metrics."""
    charts = []
    losses = [k for k in _keys(lines) if k.startswith('loss')]
    stages = [k for k in losses if k != 'loss']
    if losses:
        shown = [_column(lines, k, _stage_name(k)) for k in (stages if len(stages) > 1 else ['loss'])]
        charts.append(Chart('Learning curve', 'step', 'loss', shown, log=_wide(shown)))
    metrics = [k for k in _keys(lines) if k not in losses and k not in RATE_KEYS]
    if metrics:
        measured = [_column(lines, k, k) for k in metrics]
        charts.append(Chart('Measured during training', 'step', 'percent', measured))
    return charts


def _keys(lines: Sequence[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(k for line in lines for k in line))


def _column(lines: Sequence[Mapping[str, float]], key: str, name: str) -> Series:
    rows = [line for line in lines if key in line]
    return Series(name, [r['step'] for r in rows], [r[key] for r in rows])


def _stage_name(key: str) -> str:
    if not key.startswith('loss_'):
        return key
    return f'stage {key[5:]}' if key[5:].isdigit() else key[5:]


def _wide(series: Sequence[Series]) -> bool:
    """Whether the values are positive and span more than a factor of ten: then a logarithmic axis shows more."""
    values = [v for s in series for v in s.y if math.isfinite(v)]
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def pck_chart(scores: Scores, title: str = 'PCK over the threshold') -> Chart:
    """The curves of a metric: total and every group of joints."""
    series = [Series(name, x, y) for name, (x, y) in scores.curves.items()]
    return Chart(title, 'threshold, in torso lengths', 'correct joints, percent', series, y_range=(0, 100))


def stage_chart(stages: Sequence[Scores], curve: str = 'total') -> Chart:
    """The same curve of every stage."""
    have = [(t, s.curves[curve]) for t, s in enumerate(stages) if curve in s.curves]
    series = [Series(f'stage {t + 1}', x, y) for t, (x, y) in have]
    return Chart(f'Stage by stage, {curve}', 'threshold, in torso lengths', 'correct joints, percent', series,
                 y_range=(0, 100))  # fmt: skip


def line_svg(chart: Chart) -> str:
    """A chart of lines as one SVG element; it takes the colour of the text around it."""
    drawn = [_finite(s, chart.log) for s in chart.series]
    drawn = [s for s in drawn if s.x]
    if not drawn:
        return _frame(chart.title, f'<text x="{LEFT}" y="{TOP + 30}">nothing to show</text>', TOP + 60)
    x_low, x_high = _span([v for s in drawn for v in s.x])
    ticks = _log_ticks(drawn) if chart.log else _ticks(*(chart.y_range or _span([v for s in drawn for v in s.y])))
    y_low, y_high = chart.y_range or (ticks[0], ticks[-1])
    bottom = HEIGHT - BOTTOM

    def px(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        low, high, y = (math.log10(v) for v in (y_low, y_high, y)) if chart.log else (y_low, y_high, y)
        return bottom - (y - low) / (high - low) * (bottom - TOP)

    parts = [_grid_line(_number(v), py(v)) for v in ticks]
    parts += [
        f'<text x="{px(v):.1f}" y="{bottom + 16}" text-anchor="middle">{_number(v)}</text>'
        for v in _ticks(x_low, x_high)
        if x_low <= v <= x_high
    ]
    parts.append(f'<line class="a" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>')
    for i, s in enumerate(drawn):
        points = ' '.join(f'{px(x):.1f},{py(y):.1f}' for x, y in zip(s.x, s.y, strict=True))
        parts.append(f'<polyline class="s" {_stroke(i)} points="{points}"><title>{escape(s.name)}</title></polyline>')
        if len(s.x) <= 20:
            parts += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.5" fill="{COLORS[i % len(COLORS)]}"/>'
                      for x, y in zip(s.x, s.y, strict=True)]  # fmt: skip
    parts.append(_labels(chart, bottom))
    legend, rows = _legend([s.name for s in drawn])
    return _frame(chart.title, ''.join(parts) + legend, HEIGHT + rows * LEGEND)


def bar_svg(title: str, names: Sequence[str], values: Sequence[float], top: float = 100.0, unit: str = '') -> str:
    """Lying bars, one a name, with their values written beside them."""
    longest = max((len(n) for n in names), default=1)
    left, row = 16 + 7 * min(longest, 24), 26
    scale = (WIDTH - left - 90) / top
    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y = TOP + i * row
        wide = scale * min(max(value, 0), top) if math.isfinite(value) else 0
        told = f'{value:.1f}{unit}' if math.isfinite(value) else 'none'
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{y + 2}" width="{wide:.1f}" height="16" rx="3" fill="{COLORS[0]}"/>'
            f'<text x="{left + wide + 6:.1f}" y="{y + 14}">{escape(told)}</text>'
        )
    return _frame(title, ''.join(parts), TOP + len(names) * row + 8)


def save_svg(svg: str, file: str | Path) -> Path:
    """An SVG element as a file of its own, with a white ground."""
    head, _, rest = svg.partition('>')
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head} color="#222">{ground}{rest}')
    return path


def save_png(chart: Chart, file: str | Path) -> Path:
    """The same chart as PNG, through matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f"{file}: a chart as PNG needs matplotlib ({error}); pip install 'poseplug[plots]', or save it as SVG"
        ) from error
    figure = Figure(figsize=(WIDTH / 75, HEIGHT / 75), layout='constrained')
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    for i, s in enumerate(chart.series):
        axes.plot(s.x, s.y, color=COLORS[i % len(COLORS)], label=s.name, linestyle=('-', '--', ':')[_dash(i)])
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_yscale('log' if chart.log else 'linear')
    if chart.y_range:
        axes.set_ylim(*chart.y_range)
    if len(chart.series) > 1:
        axes.legend()
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_png(str(path))
    return path


def _frame(title: str, inside: str, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<text class="t" x="16" y="20">{escape(title)}</text>{inside}</svg>'
    )


def _grid_line(label: str, y: float) -> str:
    return (
        f'<line class="g" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _labels(chart: Chart, bottom: float) -> str:
    center, middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2
    return (
        f'<text x="{center:.0f}" y="{bottom + 34}" text-anchor="middle">{escape(chart.x_label)}</text>'
        f'<text x="14" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 14 {middle:.0f})">'
        f'{escape(chart.y_label)}{" (log)" if chart.log else ""}</text>'
    )


def _legend(names: Sequence[str]) -> tuple[str, int]:
    """A legend below the chart, and its rows."""
    if len(names) < 2:
        return '', 0
    per_row = (WIDTH - LEFT) // ENTRY
    parts = []
    for i, name in enumerate(names):
        x, y = LEFT + (i % per_row) * ENTRY, HEIGHT + (i // per_row) * LEGEND + 4
        parts.append(
            f'<line class="s" {_stroke(i)} x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}"/>'
            f'<text x="{x + 30}" y="{y + 4}">{escape(name[:15])}</text>'
        )
    return ''.join(parts), -(-len(names) // per_row)


def _stroke(place: int) -> str:
    dash = DASHES[_dash(place)]
    return f'stroke="{COLORS[place % len(COLORS)]}"' + (f' stroke-dasharray="{dash}"' if dash else '')


def _dash(place: int) -> int:
    return place // len(COLORS) % len(DASHES)


def _finite(series: Series, log: bool) -> Series:
    """The points of a line that can be drawn."""
    pairs = [
        (x, y)
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)
    ]
    return Series(series.name, [x for x, _ in pairs], [y for _, y in pairs])


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, apart even where all are the same."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values, 1, 2 or 5 times a power of ten apart, from at or below `low` to at or above `high`."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(series: Sequence[Series]) -> list[float]:
    """1, 2 and 5 times the powers of ten around all values."""
    low, high = _span([v for s in series for v in s.y])
    if low <= 0:
        low = high / 10
    every = [m * 10.0**e for e in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
             for m in (1, 2, 5)]  # fmt: skip
    first = max(i for i, v in enumerate(every) if v <= low * 1.0001)
    last = min(i for i, v in enumerate(every) if v >= high * 0.9999)
    return every[first : last + 1]


def _number(value: float) -> str:
    return f'{value / 1000:g}k' if abs(value) >= 10000 else f'{value:g}'
