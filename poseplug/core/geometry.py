"""3x3 matrices from image pixels to input pixels. Pixel centers sit on integers; sizes are (width, height)."""

from __future__ import annotations

__all__ = [
    'Size',
    'bounding_corners',
    'conjugate_about',
    'crop_matrix',
    'flip_matrix',
    'image_center',
    'rotation_matrix',
    'scale_of_matrix',
    'scaling_matrix',
    'transform_points',
    'translation_matrix',
]

import math
from typing import Any

import numpy as np

Size = tuple[int, int]


def translation_matrix(dx: float, dy: float) -> np.ndarray:
    """Return the matrix (3, 3) that shifts points by (dx, dy) px."""
    return np.array([[1.0, 0, dx], [0, 1.0, dy], [0, 0, 1.0]])


def scaling_matrix(factor: float) -> np.ndarray:
    """Return the matrix (3, 3) that scales by `factor` about the origin."""
    return np.diag([factor, factor, 1.0])


def rotation_matrix(degrees: float) -> np.ndarray:
    """Return the matrix (3, 3) that rotates about the origin, from x towards y (clockwise on the screen)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def flip_matrix(width: int) -> np.ndarray:
    """Return the matrix (3, 3) that flips an image `width` px wide: x becomes width - 1 - x."""
    return np.array([[-1.0, 0, width - 1], [0, 1.0, 0], [0, 0, 1.0]])


def image_center(size: Size) -> tuple[float, float]:
    """Return the center (x, y) of an image, half-way between the first and the last pixel of each axis."""
    return (size[0] - 1) / 2, (size[1] - 1) / 2


def conjugate_about(matrix: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """Return the same rotation or scaling (3, 3), about `point` (x, y) instead of the origin."""
    conjugated: np.ndarray = translation_matrix(*point) @ matrix @ translation_matrix(-point[0], -point[1])
    return conjugated


def crop_matrix(center: np.ndarray | tuple[float, float], scale: float, input_size: Size) -> np.ndarray:
    """Return the matrix of a crop around a center.

    Args:
        center: (x, y) in image pixels; it becomes the center of the input.
        scale: input pixels per image pixel.
        input_size: (width, height) of the input in pixels.

    Returns:
        (3, 3) from image to input pixels.

    Example:
        >>> transform_points(crop_matrix((50, 40), 2.0, (101, 81)), np.array([[50, 40], [53, 40]])).tolist()
        [[50.0, 40.0], [56.0, 40.0]]
    """
    center_to_origin = translation_matrix(-float(center[0]), -float(center[1]))
    matrix: np.ndarray = translation_matrix(*image_center(input_size)) @ scaling_matrix(scale) @ center_to_origin
    return matrix


def transform_points(matrix: Any, points: Any) -> Any:
    """Apply an affine matrix to points.

    Args:
        matrix: (3, 3), an array or a tensor.
        points: (..., 2), x and y; an array or a tensor.

    Returns:
        (..., 2); for a tensor, of its dtype and on its device.
    """
    if hasattr(points, 'new_tensor'):
        matrix = matrix.to(points) if hasattr(matrix, 'to') else points.new_tensor(matrix)
    else:
        matrix = np.asarray(matrix)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of_matrix(matrix: np.ndarray) -> float:
    """Return the factor by which a matrix (3, 3) scales lengths: the square root of its factor for areas."""
    return math.sqrt(abs(np.linalg.det(matrix[:2, :2])))


def bounding_corners(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest (x, y) of points (M, 2)."""
    return points.min(axis=0), points.max(axis=0)
