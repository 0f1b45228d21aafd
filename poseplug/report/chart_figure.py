"""Figures of charts: settings, colors, and their conversion to SVG for light and dark pages.

matplotlib is imported when a figure is drawn, not with this module.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.core.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# distinct on white and on black and, together with the dashes, for color-blind readers
SERIES_COLORS = ('#3b82f6', '#f59e0b', '#10b981', '#ef4444', '#a855f7', '#06b6d4', '#ec4899', '#84a016')
_CHART_WIDTH_PX = 480
_PX_PER_INCH = 72  # matplotlib's unit in an SVG file is the point
PNG_PX_PER_INCH = 150
FILE_TEXT_COLOR = '#222222'
PAGE_TEXT_COLOR = '#010203'  # drawn for nothing else, so that it can be replaced by the color of the page's text
_SETTINGS = {
    'svg.fonttype': 'none',  # text stays text, which can be selected and searched
    'svg.hashsalt': 'poseplug',  # the same chart is the same file, byte by byte
    'path.simplify': False,
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 10,
    'axes.titlesize': 12,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.left': False,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.axisbelow': True,
    'axes.facecolor': 'none',
    'axes.linewidth': 0.6,
    'xtick.major.width': 0.6,
    'ytick.major.size': 0,
    'ytick.minor.size': 0,
    'figure.constrained_layout.h_pad': 0.12,
    'figure.constrained_layout.w_pad': 0.12,
    'grid.alpha': 0.2,
    'grid.linewidth': 0.8,
    'legend.frameon': False,
    'lines.linewidth': 2,
    'lines.markersize': 4,
}


@contextmanager
def apply_chart_settings(text_color: str) -> Iterator[None]:
    """Import matplotlib and draw by the settings of this module, whatever the user's own are.

    Args:
        text_color: Of all text and lines that are no data.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise ConfigError(f'charts need matplotlib ({error}); pip install matplotlib') from error
    keys = ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color', 'grid.color')
    settings: dict[Any, Any] = {**_SETTINGS, **dict.fromkeys(keys, text_color)}
    with matplotlib.rc_context():
        # the user's matplotlibrc would change sizes, and with them what fits
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def build_chart_figure(title: str, height_px: int) -> tuple[Figure, Axes]:
    """Create a figure of the common width with one plot.

    Args:
        title: Text above the plot.
        height_px: Height of the figure in px of an SVG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_CHART_WIDTH_PX / _PX_PER_INCH, height_px / _PX_PER_INCH), layout='constrained')
    axes = figure.add_subplot()
    axes.set_title(quote_math(title))
    return figure, axes


def render_figure_svg(figure: Figure, title: str, names: Sequence[str]) -> str:
    """Render a figure as an SVG element that can stand in a page beside others.

    Args:
        figure: The figure.
        title: Its title, for screen readers.
        names: Names of the elements with a `build_element_id`, which browsers show under the mouse.
    """
    file = io.StringIO()
    no_metadata = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
    figure.savefig(file, format='svg', metadata=no_metadata, facecolor='none')
    svg = file.getvalue()
    # an element inside of HTML has no XML declaration and no doctype
    svg = svg[svg.index('<svg ') :].rstrip()
    # HTML's parser knows `href` without the namespace
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', '').replace('xlink:href', 'href')
    svg = svg.replace(PAGE_TEXT_COLOR, 'currentColor')
    for index, name in enumerate(names):
        # browsers show the title of a group under the mouse
        svg = svg.replace(f'<g id="{build_element_id(index)}">', f'<g><title>{escape(name)}</title>')
    # matplotlib counts the other groups in every figure: two charts in a page would have the same ids.
    svg = re.sub(r'<g id="[^"]*"', '<g', svg)
    return svg.replace('<svg ', f'<svg role="img" aria-label="{escape(title)}" ', 1)


def save_figure_png(draw_figure: Callable[[], Figure], file: str | Path) -> Path:
    """Write a figure as a PNG file, on white; returns the path.

    Args:
        draw_figure: draws it, with the settings of this module applied.
        file: the file; its folder is created.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    path = Path(file)
    with apply_chart_settings(FILE_TEXT_COLOR):
        figure = draw_figure()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format='png', dpi=PNG_PX_PER_INCH, facecolor='white')
    return path


def build_element_id(index: int) -> str:
    """Return the id of a line or bar in matplotlib's SVG."""
    return f'chart-element-{index}'


def quote_math(text: str) -> str:
    """Return text that is drawn as it is, although matplotlib sets text between two dollar signs as a formula."""
    return text.replace('$', r'\$')
