"""Cluttered scenery behind the rendered people: ground, buildings, trees, furniture.

Images are (h, w, 3) uint8 BGR at the size of the render buffers, and everything random comes from `rng`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.data.synthetic.clothing import sample_cloth, sample_color

_Array = NDArray[Any]

_NATURAL_COLORS = np.array(
    ((225, 190, 150), (215, 215, 210), (150, 145, 140), (60, 120, 80), (50, 90, 60), (80, 115, 150), (120, 160, 190),
     (90, 90, 95), (55, 60, 70), (170, 200, 215), (110, 80, 50), (40, 45, 40))
)  # sky, haze, concrete, grass, wood, earth, sand, asphalt, shade, plaster, water, night  # fmt: skip


def to_cv_points(points: Any) -> _Array:
    """Round coordinates (..., 2) to the integers that OpenCV expects."""
    return np.asarray(np.rint(np.asarray(points, float)), np.int32)


def to_bgr_tuple(color: _Array) -> tuple[float, float, float]:
    """Convert a color (3,) to the tuple that OpenCV expects."""
    b, g, r = (float(c) for c in color)
    return b, g, r


def _draw_line(image: _Array, start: Any, end: Any, color: tuple[float, float, float], width: int) -> None:
    cv2.line(image, to_cv_points(start).tolist(), to_cv_points(end).tolist(), color, width)


def _fill_rectangle(image: _Array, corner: Any, opposite_corner: Any, color: tuple[float, float, float]) -> None:
    cv2.rectangle(image, to_cv_points(corner).tolist(), to_cv_points(opposite_corner).tolist(), color, -1)


def _sample_noise(rng: Generator, size: tuple[int, int], cells: int, channels: int) -> _Array:
    """Smooth noise (h, w, channels) with a standard deviation of about 1 and `cells` bumps along the longer side."""
    w, h = size
    shape = max(2, cells * h // max(w, h)), max(2, cells * w // max(w, h)), channels
    noise = cv2.resize(rng.standard_normal(shape, dtype=np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(noise).reshape(h, w, channels)


def draw_background(rng: Generator, size: tuple[int, int]) -> _Array:
    """Draw scenery: ground under up to a dozen objects, sometimes out of focus, with grain.

    Args:
        rng: Source of everything random.
        size: (width, height).

    Returns:
        (height, width, 3) uint8, BGR.
    """
    w, h = size
    image: Any = _draw_ground(rng, size)
    for _ in range(int(rng.integers(4, 13))):
        paint_clutter = _CLUTTER_PAINTERS[int(rng.integers(len(_CLUTTER_PAINTERS)))]
        paint_clutter(rng, image)
    if rng.random() < 0.45:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.8, 4.0)))
    # At half the resolution, which is the pixel of the final image (`SUPERSAMPLING`).
    grain: Any = _sample_noise(rng, (w // 2, h // 2), max(w, h) // 4, 1) * float(rng.uniform(0, 12))
    grain = cv2.resize(grain, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.add(image, np.repeat(grain[:, :, None], 3, 2), dtype=cv2.CV_8U))


def _sample_natural_color(rng: Generator) -> _Array:
    """A color (3,) of scenery: three times in four a natural one."""
    if rng.random() < 0.25:
        return sample_color(rng)
    color = _NATURAL_COLORS[rng.integers(len(_NATURAL_COLORS))] * rng.uniform(0.7, 1.15) + rng.normal(0, 8, 3)
    return np.asarray(np.clip(color, 5, 250), np.float32)


def _draw_ground(rng: Generator, size: tuple[int, int]) -> _Array:
    """Two graded colors that usually meet at a horizon, under noise of several scales."""
    w, h = size
    top, bottom = _sample_natural_color(rng), _sample_natural_color(rng)
    rows = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    if rng.random() < 0.7:
        horizon = float(rng.uniform(0.35, 0.9))
        rows = np.where(rows > horizon, 0.75 + 0.25 * rows, 0.3 * rows)
    graded = (top + (bottom - top) * rows)[:, None]
    small = (w // 4, h // 4)
    noise: Any = _sample_noise(rng, small, 4, 3) * float(rng.uniform(2, 12))
    noise = noise + _sample_noise(rng, small, 5, 1) * float(rng.uniform(4, 22))
    noise += _sample_noise(rng, small, int(rng.integers(8, 20)), 1) * float(rng.uniform(2, 24))
    noise += _sample_noise(rng, small, int(rng.integers(24, 60)), 1) * float(rng.uniform(2, 20))
    noise = cv2.resize(noise, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(graded + noise, 0, 255), np.uint8)


# --- objects ----------------------------------------------------------------------------------------------------------


def _draw_rectangle(rng: Generator, image: _Array) -> None:
    """A rectangle of cloth: a wall, a sign, a blanket."""
    h, w = image.shape[:2]
    corner, extent = rng.uniform((-0.2, -0.2), (0.9, 0.9)) * (w, h), rng.uniform(0.06, 0.6, 2) * (w, h)
    (x0, y0), (x1, y1) = np.maximum(to_cv_points([corner, corner + extent]), 0)
    if x1 <= x0 or y1 <= y0 or x0 >= w or y0 >= h:
        return
    # Slices end at the image's border by themselves; only negative corners had to be moved.
    region = image[y0:y1, x0:x1]
    cloth = sample_cloth(rng, 0.45)
    texels_per_cell = float(rng.uniform(0.15, 0.9))
    rows, columns = ((np.arange(n) * texels_per_cell).astype(int) % 32 for n in region.shape[:2])
    region[:] = np.clip(cloth.mix_colors(cloth.tile[rows][:, columns]), 0, 255)


def _draw_polygon(rng: Generator, image: _Array) -> None:
    h, w = image.shape[:2]
    center = rng.uniform(0, (w, h))
    corners = center + rng.uniform(-0.35, 0.35, (int(rng.integers(3, 7)), 2)) * (w, h)
    cv2.fillPoly(image, [to_cv_points(corners)], to_bgr_tuple(sample_color(rng)))


def _draw_parallel_lines(rng: Generator, image: _Array) -> None:
    """A fence, a rail, wires or the lines of a court."""
    h, w = image.shape[:2]
    start, extent = rng.uniform(-0.2, 1.0, 2) * (w, h), rng.normal(0, 0.7, 2) * (w, h)
    if rng.random() < 0.5:
        extent[int(rng.integers(2))] = 0
    gap = rng.normal(0, 0.12, 2) * (w, h)
    color, width = to_bgr_tuple(sample_color(rng)), int(rng.integers(1, 8))
    for i in range(int(rng.integers(1, 8))):
        _draw_line(image, start + i * gap, start + i * gap + extent, color, width)


def _draw_building(rng: Generator, image: _Array) -> None:
    """A front with rows of windows."""
    h, w = image.shape[:2]
    x, width = rng.uniform(-0.2, 0.9) * w, rng.uniform(0.2, 0.6) * w
    top, bottom = rng.uniform(0, 0.4) * h, rng.uniform(0.5, 0.95) * h
    _fill_rectangle(image, (x, top), (x + width, bottom), to_bgr_tuple(sample_color(rng)))
    num_columns, num_rows = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    color = to_bgr_tuple(sample_color(rng))
    cell = np.array((width / num_columns, (bottom - top) / num_rows))
    for row in range(num_rows):
        for column in range(num_columns):
            corner = np.array((x, top)) + cell * (column + 0.22, row + 0.2)
            _fill_rectangle(image, corner, corner + cell * 0.55, color)


def _draw_tree(rng: Generator, image: _Array) -> None:
    """A trunk under a crown of leaves."""
    h, w = image.shape[:2]
    x, bottom, top = rng.uniform(0, w), rng.uniform(0.5, 1.0) * h, rng.uniform(0, 0.45) * h
    bark = np.array((45, 65, 90)) * rng.uniform(0.5, 1.3)
    _draw_line(image, (x, bottom), (x, top), to_bgr_tuple(bark), int(rng.integers(4, 20)))
    draw_leaves(rng, image, np.array((x, top)), float(rng.uniform(0.1, 0.25) * w), 26)


def draw_leaves(
    rng: Generator, image: _Array, center: _Array, radius: float, count: int, mask: _Array | None = None
) -> None:
    """Draw green ellipses around a point, in place.

    Args:
        rng: Source of everything random.
        image: (h, w, 3) that is painted.
        center: (2,) the middle of the leaves, in cells.
        radius: About how far they spread, in cells.
        count: Number of leaves.
        mask: (h, w) that is set to 255 where a leaf is.
    """
    green = np.array((40, 110, 60)) * rng.uniform(0.4, 1.5) + rng.normal(0, 15, 3)
    for offset in rng.normal(0, 0.55, (count, 2)):
        leaf_center = to_cv_points(center + offset * radius).tolist()
        axes = to_cv_points(rng.uniform(0.1, 0.38, 2) * radius + 1).tolist()
        angle = float(rng.uniform(0, 180))
        color = to_bgr_tuple(np.clip(green * rng.uniform(0.6, 1.4), 0, 255))
        cv2.ellipse(image, leaf_center, axes, angle, 0, 360, color, -1)
        if mask is not None:
            cv2.ellipse(mask, leaf_center, axes, angle, 0, 360, 255, -1)


def _draw_furniture(rng: Generator, image: _Array) -> None:
    """A table, a bench or a chair: a slab on two legs, perhaps with a back."""
    h, w = image.shape[:2]
    x, width = rng.uniform(-0.1, 0.8) * w, rng.uniform(0.2, 0.6) * w
    top, bottom = sorted(rng.uniform(0.4, 1.0, 2) * h)
    color, thickness = to_bgr_tuple(sample_color(rng)), int(rng.integers(3, 14))
    for leg in (x, x + width):
        _draw_line(image, (leg, top), (leg, bottom), color, thickness)
    _draw_line(image, (x, top), (x + width, top), color, thickness + 3)
    if rng.random() < 0.5:
        _draw_line(image, (x, top), (x + width * 0.1, top - (bottom - top)), color, thickness)


def _draw_disc(rng: Generator, image: _Array) -> None:
    h, w = image.shape[:2]
    axes = to_cv_points(rng.uniform(0.02, 0.16, 2) * max(w, h) + 1).tolist()
    center = to_cv_points(rng.uniform(0, (w, h))).tolist()
    angle = float(rng.uniform(0, 180))
    cv2.ellipse(image, center, axes, angle, 0, 360, to_bgr_tuple(sample_color(rng)), -1)


# rectangles and polygons stand in twice, so that they are drawn twice as often
_CLUTTER_PAINTERS = (
    _draw_rectangle,
    _draw_rectangle,
    _draw_polygon,
    _draw_polygon,
    _draw_parallel_lines,
    _draw_building,
    _draw_tree,
    _draw_furniture,
    _draw_disc,
)
