"""The results of an analysis as files: a table (CSV, Markdown) and charts (SVG, PNG)."""

from __future__ import annotations

__all__ = ['ResultTable', 'format_result_table', 'format_rows_csv', 'write_chart_files', 'write_result_table']

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poseplug.files.atomic import write_atomically
from poseplug.report.charts import Chart, render_line_chart, save_png, save_svg
from poseplug.report.matrix_chart import MatrixChart, render_matrix_chart, save_matrix_chart


@dataclass(frozen=True)
class ResultTable:
    """The measurements of an analysis, as rows.

    Attributes:
        title: of the page.
        command: that repeats the analysis.
        rows: of the table, by column name; the same columns in all rows.
        charts: by file name without a suffix.
        notes: sentences below the table.

    Example:
        >>> rows = [dict(name='a', PCK=61.25), dict(name='b', PCK=None)]
        >>> table = ResultTable('Two rows', 'poseplug analyze ...', rows)
        >>> print(format_result_table(table))
        # Two rows
        <BLANKLINE>
        `poseplug analyze ...`
        <BLANKLINE>
        | name | PCK |
        |---|---|
        | a | 61.25 |
        | b | |
    """

    title: str
    command: str
    rows: Sequence[Mapping[str, Any]]
    charts: Mapping[str, Chart | MatrixChart] = field(default_factory=dict)
    notes: Sequence[str] = ()


def format_result_table(table: ResultTable) -> str:
    """Format a table as Markdown, with its title, its command and its notes."""
    names = list(table.rows[0]) if table.rows else []
    lines = [f'# {table.title}', '', f'`{table.command}`', '']
    lines += [f'| {" | ".join(names)} |', '|---' * len(names) + '|'] if names else ['No rows.']
    for row in table.rows:
        cells = (_format_cell(row[name]) for name in names)
        lines.append('|' + ''.join(f' {cell} |' if cell else ' |' for cell in cells))
    for note in table.notes:
        lines += ['', note]
    return '\n'.join(lines)


def _format_cell(value: Any) -> str:
    """A value as text: numbers with two decimals, or four digits if they are small; nothing for a missing one."""
    # NaN: a score that nothing was measured for
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ''
    if isinstance(value, float):
        return f'{value:.2f}' if abs(value) >= 1 or value == 0 else f'{value:.4g}'
    return str(value)


def write_result_table(table: ResultTable, out: Path) -> list[Path]:
    """Write `rows.csv`, `report.md`, and every chart as SVG and PNG.

    Args:
        table: what is written.
        out: the folder; it is created. Files of these names are replaced.

    Returns:
        The files.

    Raises:
        ConfigError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [out / 'rows.csv', out / 'report.md']
    write_atomically(files[0], format_rows_csv(table.rows).encode())
    write_atomically(files[1], f'{format_result_table(table)}\n'.encode())
    return files + write_chart_files(table.charts, out)


def write_chart_files(charts: Mapping[str, Chart | MatrixChart], out: Path) -> list[Path]:
    """Write every chart as SVG and as PNG; returns the files.

    Args:
        charts: by file name without a suffix.
        out: the folder.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    files = []
    for name, chart in charts.items():
        svg, png = out / f'{name}.svg', out / f'{name}.png'
        if isinstance(chart, MatrixChart):
            files += [save_svg(render_matrix_chart(chart), svg), save_matrix_chart(chart, png)]
        else:
            files += [save_svg(render_line_chart(chart), svg), save_png(chart, png)]
    return files


def format_rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with the same columns as a CSV table; no rows are an empty text."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
