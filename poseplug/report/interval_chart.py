"""A chart of values with intervals: one row per variant, one dot per run."""

from __future__ import annotations

__all__ = ['IntervalChart', 'IntervalRow', 'render_interval_chart', 'save_interval_chart']

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.report.chart_figure import (
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
    from matplotlib.figure import Figure

_FRAME_HEIGHT_PX, _ROW_HEIGHT_PX = 84, 30


@dataclass(frozen=True)
class IntervalRow:
    """One row of the chart.

    Attributes:
        name: Text beside the row.
        values: One per run, each drawn as a dot.
        mean: Drawn as a bar across the row.
        low: Lower end of the interval; not finite for none.
        high: Upper end of the interval; not finite for none.
    """

    name: str
    values: Sequence[float]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """Rows of values on one axis.

    Attributes:
        title: Text above the chart.
        x_label: Text below the axis.
        rows: From top to bottom.
    """

    title: str
    x_label: str
    rows: Sequence[IntervalRow]


def render_interval_chart(chart: IntervalChart) -> str:
    """Render the chart as one SVG element, whose text takes the color of the text around it.

    Raises:
        ConfigError: matplotlib is not installed.

    Example:
        >>> row = IntervalRow('every stage', [60.1, 61.0], mean=60.55, low=54.8, high=66.3)
        >>> render_interval_chart(IntervalChart('Supervision', 'PCK@0.2', [row])).startswith('<svg')
        True
    """
    with apply_chart_settings(PAGE_TEXT_COLOR):
        figure = _draw_interval_chart(chart)
        return render_figure_svg(figure, chart.title, [row.name for row in chart.rows])


def save_interval_chart(chart: IntervalChart, file: str | Path) -> Path:
    """Write the chart as a PNG file, on white; returns the path.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    return save_figure_png(lambda: _draw_interval_chart(chart), file)


def _draw_interval_chart(chart: IntervalChart) -> Figure:
    figure, axes = build_chart_figure(chart.title, _FRAME_HEIGHT_PX + len(chart.rows) * _ROW_HEIGHT_PX)
    for index, row in enumerate(chart.rows):
        color = SERIES_COLORS[index % len(SERIES_COLORS)]
        # one seed has no interval
        if math.isfinite(row.low) and math.isfinite(row.high):
            axes.plot([row.low, row.high], [index, index], color=color, linewidth=5, alpha=0.35)
        axes.plot([row.mean], [index], color=color, marker='|', markersize=16, markeredgewidth=2)
        heights = [index] * len(row.values)
        (dots,) = axes.plot(row.values, heights, color=color, marker='o', linestyle='None')
        dots.set_gid(build_element_id(index))
    axes.set_yticks(range(len(chart.rows)), [quote_math(row.name) for row in chart.rows])
    axes.set_ylim(len(chart.rows) - 0.5, -0.5)  # the first row on top
    axes.set_xlabel(quote_math(chart.x_label))
    axes.grid(axis='x')
    return figure
