"""A grid of small line charts with common axes, such as histograms of layers (columns) over training (rows)."""

from __future__ import annotations

__all__ = ['PanelChart', 'render_panel_chart', 'save_panel_chart']

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.report.chart_figure import (
    PAGE_TEXT_COLOR,
    SERIES_COLORS,
    apply_chart_settings,
    quote_math,
    render_figure_svg,
    save_figure_png,
)
from poseplug.report.charts import Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_PANEL_WIDTH_PX, _PANEL_HEIGHT_PX, _FRAME_HEIGHT_PX, _PX_PER_INCH = 220, 120, 90, 72
_MAX_NAME_LENGTH = 30


@dataclass(frozen=True)
class PanelChart:
    """The panels of a chart.

    Attributes:
        title: Text above the chart.
        x_label: Text below the panels.
        row_names: One per row of panels.
        column_names: One per column of panels.
        panels: By row and column the lines of a panel; lines of one name have one color.
    """

    title: str
    x_label: str
    row_names: Sequence[str]
    column_names: Sequence[str]
    panels: Sequence[Sequence[Sequence[Series]]]


def render_panel_chart(chart: PanelChart) -> str:
    """Render the chart as one SVG element, whose text takes the color of the text around it.

    Raises:
        ConfigError: matplotlib is not installed.

    Example:
        >>> panels = [[[Series('train', [0, 1], [2, 3])]]]
        >>> render_panel_chart(PanelChart('Losses', 'step', ['seed 0'], ['loss'], panels)).startswith('<svg')
        True
    """
    with apply_chart_settings(PAGE_TEXT_COLOR):
        return render_figure_svg(_draw_panels(chart), chart.title, [])


def save_panel_chart(chart: PanelChart, file: str | Path) -> Path:
    """Write the chart as a PNG file, on white; returns the path.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    return save_figure_png(lambda: _draw_panels(chart), file)


def _draw_panels(chart: PanelChart) -> Figure:
    from matplotlib.figure import Figure

    num_rows, num_columns = len(chart.row_names), len(chart.column_names)
    height = (_FRAME_HEIGHT_PX + num_rows * _PANEL_HEIGHT_PX) / _PX_PER_INCH
    figure = Figure(figsize=(num_columns * _PANEL_WIDTH_PX / _PX_PER_INCH, height), layout='constrained')
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey='row', squeeze=False)
    lines: dict[str, Line2D] = {}
    for row, panel_row in enumerate(chart.panels):
        for column, panel in enumerate(panel_row):
            axes = grid[row][column]
            for index, series in enumerate(panel):
                (line,) = axes.plot(series.x, series.y, color=SERIES_COLORS[index % len(SERIES_COLORS)], linewidth=1.2)
                lines.setdefault(series.name, line)
            axes.grid(axis='y')
            if row == 0:
                axes.set_title(_shorten_text(quote_math(chart.column_names[column])), fontsize=8, fontweight='normal')
        grid[row][0].set_ylabel(quote_math(chart.row_names[row]))
    for axes in grid[-1]:
        axes.set_xlabel(quote_math(chart.x_label))
    # all panels share the x axis
    grid[0][0].set_xlim(*_find_x_range(chart))
    figure.suptitle(quote_math(chart.title), fontweight='bold')
    names = [quote_math(name) for name in lines]
    figure.legend(list(lines.values()), names, loc='outside lower center', ncols=2)
    return figure


def _find_x_range(chart: PanelChart) -> tuple[float, float]:
    """The ends of the x axis: those of all points with a value, or of all points if there is none."""
    lines = [series for panel_row in chart.panels for panel in panel_row for series in panel]
    # histograms are 0 at both ends of their range, which says nothing
    points = [x for series in lines for x, y in zip(series.x, series.y, strict=True) if y]
    points = points or [x for series in lines for x in series.x] or [0.0]
    margin = 0.05 * (max(points) - min(points)) + 0.5
    return min(points) - margin, max(points) + margin


def _shorten_text(text: str) -> str:
    """The text with its middle left out, if it is longer than a panel is wide."""
    if len(text) <= _MAX_NAME_LENGTH:
        return text
    half = (_MAX_NAME_LENGTH - 3) // 2
    return f'{text[:half]}...{text[-half:]}'
