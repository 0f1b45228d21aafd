"""Lines, dots and boxes at fractions of a pixel, wherever their ends are, drawn with OpenCV."""

from __future__ import annotations

__all__ = ['SUBPIXEL_BITS', 'clip_segment', 'draw_box', 'draw_dot', 'draw_line', 'to_fixed_point']

import cv2
import numpy as np

SUBPIXEL_BITS = 4  # fractional bits of a point: OpenCV draws at sixteenths of a pixel
_MAX_COORDINATE_PX = 1 << 17  # a million pixels away OpenCV's lines change their direction
_Color = tuple[int, ...]  # BGR


def to_fixed_point(point: np.ndarray) -> tuple[int, int]:
    """Convert a point (2,) in pixels to what OpenCV expects: Python integers, in sixteenths of a pixel.

    OpenCV's integers of 32 bits hold points up to 134 million pixels; clip what may be farther out.
    """
    x, y = point
    return round(float(x) * (1 << SUBPIXEL_BITS)), round(float(y) * (1 << SUBPIXEL_BITS))


def clip_segment(
    a: np.ndarray, b: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Cut a segment to the part within a rectangle (Liang and Barsky 1984), without a change of its direction.

    Args:
        a, b: (2,) finite ends in pixels.
        low, high: (2,) corners of the rectangle in pixels.

    Returns:
        The ends of the part, which are the same arrays where they lie within; None if the segment lies outside.
    """
    step = b - a
    # A direction along an axis, exactly or but for the smallest of numbers, never crosses the borders of that axis: its
    # fractions are -inf and inf, or all outside.
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        crossings = np.sort(np.stack([(low - a) / step, (high - a) / step]), axis=0)
    is_along = step == 0
    if (is_along & ((a < low) | (a > high))).any():
        return None
    enter = float(np.where(is_along, 0, crossings[0]).max(initial=0))
    leave = float(np.where(is_along, 1, crossings[1]).min(initial=1))
    if enter > leave:
        return None
    return (a + enter * step if enter > 0 else a), (a + leave * step if leave < 1 else b)


def _is_drawable(point: np.ndarray) -> bool:
    """Whether OpenCV draws to a point by itself; asking is thirty times faster than clipping."""
    x, y = point
    return -_MAX_COORDINATE_PX < x < _MAX_COORDINATE_PX and -_MAX_COORDINATE_PX < y < _MAX_COORDINATE_PX


def draw_line(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, color: _Color, width_px: int) -> None:
    """Draw a line between two points (2,) in pixels, in place; they may be far outside the canvas."""
    if not (_is_drawable(a) and _is_drawable(b)):
        # so far outside, the ends of the cut line and their round caps are not seen
        margin_px = 2 * width_px + 2
        size = np.array(canvas.shape[1::-1], dtype=float)
        ends = clip_segment(np.asarray(a, float), np.asarray(b, float), -np.full(2, margin_px), size + margin_px)
        if ends is None:
            return
        a, b = ends
    cv2.line(canvas, to_fixed_point(a), to_fixed_point(b), color, width_px, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_dot(canvas: np.ndarray, point: np.ndarray, color: _Color, radius_px: float) -> None:
    """Draw a filled circle around a point (2,) in pixels, in place."""
    (height, width), reach_px = canvas.shape[:2], radius_px + 2
    x, y = point
    if -reach_px < x < width + reach_px and -reach_px < y < height + reach_px:
        radius = round(radius_px * (1 << SUBPIXEL_BITS))
        cv2.circle(canvas, to_fixed_point(point), radius, color, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def draw_box(canvas: np.ndarray, corners: np.ndarray, color: _Color) -> None:
    """Draw the border of a box by two corners (2, 2) in pixels, in place."""
    margin_px = 4.0  # a side farther out cannot be seen, so that it may lie nearer
    size = np.array(canvas.shape[1::-1])
    low, high = np.clip(corners, -margin_px, size + margin_px)
    cv2.rectangle(canvas, to_fixed_point(low), to_fixed_point(high), color, 1, cv2.LINE_AA, SUBPIXEL_BITS)
