"""A chart of a matrix: cells in shades of one color, with a row and a column name each."""

from __future__ import annotations

__all__ = ['MatrixChart', 'render_matrix_chart', 'save_matrix_chart']

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from poseplug.report.chart_figure import (
    PAGE_TEXT_COLOR,
    apply_chart_settings,
    build_chart_figure,
    quote_math,
    render_figure_svg,
    save_figure_png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW_HEIGHT_PX, _FRAME_HEIGHT_PX = 22, 150
_COLORMAP = 'Blues'


@dataclass(frozen=True)
class MatrixChart:
    """The cells of a chart.

    Attributes:
        title: Text above the chart.
        x_label: Text below the columns.
        y_label: Text beside the rows.
        unit: Text beside the scale of the colors.
        row_names: One per row, from top to bottom.
        column_names: One per column.
        values: (rows, columns); NaN for a cell without a value.
    """

    title: str
    x_label: str
    y_label: str
    unit: str
    row_names: Sequence[str]
    column_names: Sequence[str]
    values: np.ndarray


def render_matrix_chart(chart: MatrixChart) -> str:
    """Render the chart as one SVG element, whose text takes the color of the text around it.

    Args:
        chart: the matrix.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with apply_chart_settings(PAGE_TEXT_COLOR):
        return render_figure_svg(_draw_matrix(chart), chart.title, [])


def save_matrix_chart(chart: MatrixChart, file: str | Path) -> Path:
    """Write the chart as a PNG file, on white; returns the path.

    Args:
        chart: the matrix.
        file: the file; its folder is created.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    return save_figure_png(lambda: _draw_matrix(chart), file)


def _draw_matrix(chart: MatrixChart) -> Figure:
    num_rows, num_columns = chart.values.shape
    figure, axes = build_chart_figure(chart.title, _FRAME_HEIGHT_PX + num_rows * _ROW_HEIGHT_PX)
    # shapes and no picture, so that an SVG file is sharp at any size
    mesh = axes.pcolormesh(np.ma.masked_invalid(chart.values), cmap=_COLORMAP, vmin=0)
    axes.set_xticks(np.arange(num_columns) + 0.5, [quote_math(name) for name in chart.column_names], rotation=90)
    axes.set_yticks(np.arange(num_rows) + 0.5, [quote_math(name) for name in chart.row_names])
    axes.invert_yaxis()
    axes.set_xlabel(quote_math(chart.x_label))
    axes.set_ylabel(quote_math(chart.y_label))
    figure.colorbar(mesh, ax=axes, label=quote_math(chart.unit), pad=0.02)
    return figure
