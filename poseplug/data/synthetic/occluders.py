"""Objects in front of the rendered people: boxes, poles, leaves, balls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from poseplug.data.synthetic.background import draw_leaves, to_cv_points
from poseplug.data.synthetic.clothing import sample_cloth, sample_color
from poseplug.data.synthetic.person_sampling import PosedPerson, compute_body_corners
from poseplug.data.synthetic.rendering import SUPERSAMPLING, RenderBuffers, paint_mask

_Array = NDArray[Any]


def draw_occluders(rng: Generator, buffers: RenderBuffers, persons: Sequence[PosedPerson]) -> None:
    """Draw an object in front of each person with a probability of 0.2, in place."""
    for person in persons:
        if rng.random() < 0.2:
            corners = compute_body_corners(person.body, person.view) * SUPERSAMPLING
            depth = person.view.depth_offset + float(rng.uniform(0.7, 1.2))
            paint_occluder = _OCCLUDER_PAINTERS[int(rng.integers(len(_OCCLUDER_PAINTERS)))]
            paint_occluder(rng, buffers, corners, depth)


def _occlude_with_box(rng: Generator, buffers: RenderBuffers, corners: _Array, depth: float) -> None:
    """A crate, a wall or a table top before the lower end or one side of a body with these corners (2, 2) in cells."""
    mask, color = np.zeros(buffers.tags.shape, np.uint8), buffers.color.copy()
    extent = corners[1] - corners[0]
    width, height = rng.uniform((0.25, 0.1), (1.1, 0.3)) * extent
    x = rng.uniform(corners[0, 0] - width * 0.6, corners[1, 0] - width * 0.4)
    y = corners[1, 1] - height * rng.uniform(0.4, 1.0)
    box = to_cv_points([(x, y), (x + width, y + height * 2)])
    cv2.rectangle(mask, box[0].tolist(), box[1].tolist(), 255, -1)
    # The texture begins at the box's visible corner; a negative index would count from the other end.
    ((x0, y0), (x1, y1)) = np.maximum(box, 0)
    _paint_surface(rng, color[y0 : y1 + 1, x0 : x1 + 1])
    paint_mask(buffers, mask, color, depth)


def _paint_surface(rng: Generator, region: _Array) -> None:
    """A plain or patterned surface with a lighter upper edge, in place."""
    if not region.size:
        return
    cloth = sample_cloth(rng, 0.5)
    rows, columns = (np.arange(n) // 2 % 32 for n in region.shape[:2])
    region[:] = np.clip(cloth.mix_colors(cloth.tile[rows][:, columns]), 0, 255)
    region[:3] = np.clip(cloth.color * 1.25, 0, 255)


def _occlude_with_pole(rng: Generator, buffers: RenderBuffers, corners: _Array, depth: float) -> None:
    """An upright pole, or a rope or rail, from border to border of the image."""
    mask = np.zeros(buffers.tags.shape, np.uint8)
    h, w = buffers.tags.shape
    extent = corners[1] - corners[0]
    middle = corners[0] + extent * rng.uniform(0.05, 0.95, 2)
    if rng.random() < 0.6:
        direction = np.array((rng.normal(0, 0.15), 1.0))
    else:
        direction = np.array((1.0, rng.normal(0, 0.2)))
    thickness = max(2, int(extent.max() * rng.uniform(0.015, 0.06)))
    ends = to_cv_points([middle - direction * (w + h), middle + direction * (w + h)])
    cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 255, thickness)
    paint_mask(buffers, mask, sample_color(rng), depth)


def _occlude_with_leaves(rng: Generator, buffers: RenderBuffers, corners: _Array, depth: float) -> None:
    """A bush, rather at the lower end of the body."""
    mask, color = np.zeros(buffers.tags.shape, np.uint8), buffers.color.copy()
    extent = corners[1] - corners[0]
    center = corners[0] + extent * rng.uniform((-0.1, 0.3), (1.1, 1.1))
    radius = float(extent.max() * rng.uniform(0.09, 0.18))
    draw_leaves(rng, color, center, radius, int(rng.integers(10, 26)), mask)
    paint_mask(buffers, mask, color, depth)


def _occlude_with_ball(rng: Generator, buffers: RenderBuffers, corners: _Array, depth: float) -> None:
    mask = np.zeros(buffers.tags.shape, np.uint8)
    extent = corners[1] - corners[0]
    center = corners[0] + extent * rng.uniform(0, 1, 2)
    radius = int(extent.max() * rng.uniform(0.03, 0.08)) + 1
    cv2.circle(mask, to_cv_points(center).tolist(), radius, 255, -1)
    paint_mask(buffers, mask, sample_color(rng), depth)


_OCCLUDER_PAINTERS = (_occlude_with_box, _occlude_with_pole, _occlude_with_leaves, _occlude_with_ball)
