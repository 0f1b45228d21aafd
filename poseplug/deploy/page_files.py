"""The files of the web pages: HTML, styles and scripts, which come with the package."""

from __future__ import annotations

__all__ = ['CONTENT_TYPES', 'PAGES_FOLDER', 'describe_drawing', 'read_page_file']

from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.report.draw import EDGE_COLOR
from poseplug.report.drawing_style import SIDE_COLORS, Color, keypoint_sides, limb_side

PAGES_FOLDER = Path(__file__).with_name('pages')
CONTENT_TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
}


def read_page_file(name: str) -> str:
    """Read a file of the pages.

    Args:
        name: such as 'web.html'.

    Raises:
        ConfigError: the file is missing.
    """
    file = PAGES_FOLDER / name
    try:
        return file.read_text(encoding='utf-8')
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{file}: {reason}; the file belongs there, install poseplug again') from error


def describe_drawing(skeleton: Skeleton) -> dict[str, Any]:
    """Describe how the pages draw a skeleton.

    Args:
        skeleton: of the instances.

    Returns:
        `sides` of the keypoints, `limbs` as two indices and a side, and `colors` by side in CSS notation.

    Example:
        >>> from poseplug.registry.skeletons import get_skeleton
        >>> describe_drawing(get_skeleton('lsp'))['sides'][:2]
        ['right', 'right']
    """
    sides = keypoint_sides(skeleton)
    limbs = [[int(a), int(b), limb_side(sides[a], sides[b])] for a, b in skeleton.limb_indices]
    colors = {side: _color_to_hex(color) for side, color in {**SIDE_COLORS, 'edge': EDGE_COLOR}.items()}
    return {'sides': sides, 'limbs': limbs, 'colors': colors}


def _color_to_hex(color: Color) -> str:
    """A BGR color in CSS notation."""
    return '#{2:02x}{1:02x}{0:02x}'.format(*color)
