"""3x3 matrices from image pixels to input pixels. Pixel centres sit on integers; sizes are (width, height)."""

from __future__ import annotations

import math

import numpy as np

Size = tuple[int, int]


def translation(dx: float, dy: float) -> np.ndarray:
    """(3, 3) moving points by (dx, dy) px."""
    return np.array([[1.0, 0, dx], [0, 1.0, dy], [0, 0, 1.0]])


def scaling(factor: float) -> np.ndarray:
    """(3, 3) enlarging by `factor` about the origin."""
    return np.diag([factor, factor, 1.0])


def rotation(degrees: float) -> np.ndarray:
    """(3, 3) turning about the origin, from x towards y (clockwise on the screen)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def mirroring(width: int) -> np.ndarray:
    """(3, 3) exchanging left and right of a picture `width` px wide: x becomes width - 1 - x."""
    return np.array([[-1.0, 0, width - 1], [0, 1.0, 0], [0, 0, 1.0]])


def middle(size: Size) -> tuple[float, float]:
    """The point half-way between the first and the last pixel of both axes."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def about(matrix: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """(3, 3) the same turn or enlargement, with `point` kept in place."""
    return translation(*point) @ matrix @ translation(-point[0], -point[1])


def place(center: np.ndarray | tuple[float, float], factor: float, size: Size) -> np.ndarray:
    """(3, 3) that enlarges by `factor` and brings `center` (image px) to the middle of an input of `size`."""
    return translation(*middle(size)) @ scaling(factor) @ translation(-float(center[0]), -float(center[1]))


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) through an affine matrix (3, 3)."""
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def enlargement(matrix: np.ndarray) -> float:
    """How many times longer lengths become, as the root of the area's factor."""
    return math.sqrt(abs(np.linalg.det(matrix[:2, :2])))


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest (x, y) of points (M, 2)."""
    return points.min(axis=0), points.max(axis=0)
