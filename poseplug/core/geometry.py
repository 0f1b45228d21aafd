"""3x3 matrices from image pixels to input pixels. Pixel centers sit on integers; sizes are (width, height)."""

from __future__ import annotations

__all__ = [
    'CROP_RULES',
    'CropRule',
    'Size',
    'bounding_corners',
    'conjugate_about',
    'crop_matrix',
    'fit_matrix',
    'flip_matrix',
    'image_center',
    'rotation_matrix',
    'scale_of_matrix',
    'scaling_matrix',
    'transform_points',
    'translation_matrix',
]

import math
from typing import Any, Literal, get_args

import numpy as np

Size = tuple[int, int]
CropRule = Literal['pixels', 'corners', 'released_hrnet', 'released_udp', 'released_dark']
CROP_RULES: tuple[str, ...] = get_args(CropRule)


def translation_matrix(dx: float, dy: float) -> np.ndarray:
    """Return the matrix (3, 3) that shifts points by (dx, dy) px."""
    return np.array([[1.0, 0, dx], [0, 1.0, dy], [0, 0, 1.0]])


def scaling_matrix(factor: float) -> np.ndarray:
    """Return the matrix (3, 3) that scales by `factor` about the origin."""
    return np.diag([factor, factor, 1.0])


def rotation_matrix(degrees: float) -> np.ndarray:
    """Return the matrix (3, 3) that rotates about the origin, from x towards y (clockwise on the screen)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # y points down, so that this is the usual matrix and yet turns clockwise on the screen.
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def flip_matrix(width: int) -> np.ndarray:
    """Return the matrix (3, 3) that flips an image `width` px wide: x becomes width - 1 - x."""
    # width - 1, not width: with centers on integers the first pixel's center becomes the last one's.
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
    # From right to left: the center goes to the origin, is scaled there, and goes to the input's center.
    matrix: np.ndarray = translation_matrix(*image_center(input_size)) @ scaling_matrix(scale) @ center_to_origin
    return matrix


def fit_matrix(center: np.ndarray, extent: np.ndarray, input_size: Size, crop_rule: CropRule = 'pixels') -> np.ndarray:
    """Return the matrix of a crop that fits a box into the input, at the input's center.

    The five rules differ by half a pixel of the input and by less than 1 % of the scale. Weights that were trained
    under one of them see the pixels that they were trained for only under that rule.

    Args:
        center: (2,) x, y of the box's center in image pixels.
        extent: (2,) width and height of the box in image pixels, padding included; at least 1 px of each counts.
        input_size: (width, height) of the input in pixels.
        crop_rule: how the box, enlarged to the input's aspect ratio, meets the input. Width w of the box and W of the
            input stand for both axes:
            'pixels': the centers coincide, and the scale is W / w.
            'corners': the centers coincide, and the scale is (W - 1) / w, the smaller one of both axes.
            'released_hrnet': the box's center lies at W / 2, half a pixel beside the input's center, and the scale is
            W / w (SimpleBaseline, HRNet, MMPose).
            'released_udp': as 'corners', but each axis has its own scale (UDP-Pose, and MMPose with `use_udp`).
            'released_dark': the centers coincide, and the scale is (W - 1) / (w - 1) (DarkPose).

    Returns:
        (3, 3) from image to input pixels.

    Example:
        >>> center, extent = np.array([50.0, 40.0]), np.array([24.0, 16.0])
        >>> fit_matrix(center, extent, (48, 64)) @ (50, 40, 1)
        array([23.5, 31.5,  1. ])
        >>> fit_matrix(center, extent, (48, 64), 'released_hrnet') @ (50, 40, 1)
        array([24., 32.,  1.])
    """
    # UDP (Huang et al. 2020, arXiv:1911.07524) measures between pixel centers: W pixels have W - 1 intervals.
    size = np.array(input_size, float)
    available = size - 1 if crop_rule == 'corners' else size
    # An extent of at least 1 px: a single keypoint would be enlarged without limit.
    extent = np.maximum(extent, 1.0)
    if crop_rule in ('released_hrnet', 'released_udp'):
        return _fit_in_single_precision(center, extent, input_size, crop_rule)
    scale = float((available / extent).min())
    if crop_rule == 'released_dark':
        # DarkPose takes one interval off the box's width, too, and uses the factor of x for both axes.
        full_width = size[0] / scale
        scales = scaling_matrix((size[0] - 1) / max(full_width - 1, 1.0))
    else:
        scales = scaling_matrix(scale)
    to_target = translation_matrix(*image_center(input_size))
    matrix: np.ndarray = to_target @ scales @ translation_matrix(-float(center[0]), -float(center[1]))
    return matrix


def _fit_in_single_precision(
    center: np.ndarray, extent: np.ndarray, input_size: Size, crop_rule: CropRule
) -> np.ndarray:
    """The crops of HRNet, MMPose and UDP-Pose, computed and rounded in float32 as their code does.

    OpenCV samples at multiples of 1/32 px, so a matrix that differs by its rounding alone changes single pixels of the
    crop by a gray level: scores of converted weights then differed by up to 7e-4.
    """
    (x, y), (width, height) = np.asarray(center, np.float32), np.asarray(extent, np.float32)
    columns, rows = np.array(input_size, np.float32)
    aspect = input_size[0] / input_size[1]
    full_width = np.maximum(width, height * aspect)
    full_height = height if height * aspect >= width else width / aspect
    if crop_rule == 'released_udp':
        # The box gets the aspect ratio W : H, but W - 1 and H - 1 intervals are stretched over it: two factors.
        scales = (columns - 1) / full_width, (rows - 1) / full_height
        offsets = scales[0] * (full_width * 0.5 - x), scales[1] * (full_height * 0.5 - y)
    else:
        # Three points that are rounded to float32: the center, the middle of the left side, and one below that.
        radius = x - (x - full_width * 0.5)
        radius_y = (y + radius) - y
        half_width = float(columns) / 2
        scales = half_width / float(radius), half_width / float(radius_y)
        offsets = half_width - scales[0] * float(x), float(rows) / 2 - scales[1] * float(y)
    return np.array([[scales[0], 0.0, offsets[0]], [0.0, scales[1], offsets[1]], [0.0, 0.0, 1.0]], np.float64)


def transform_points(matrix: Any, points: Any) -> Any:
    """Apply an affine matrix to points.

    Args:
        matrix: (3, 3), an array or a tensor.
        points: (..., 2), x and y; an array or a tensor.

    Returns:
        (..., 2); for a tensor, of its dtype and on its device.
    """
    # A tensor is known by its method: importing torch to ask would cost seconds where only arrays come in.
    if hasattr(points, 'new_tensor'):
        matrix = matrix.to(points) if hasattr(matrix, 'to') else points.new_tensor(matrix)
    else:
        matrix = np.asarray(matrix)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def scale_of_matrix(matrix: np.ndarray) -> float:
    """Return the factor by which a matrix (3, 3) scales lengths: the square root of its factor for areas."""
    (a, b), (c, d) = matrix[:2, :2].tolist()
    return math.sqrt(abs(a * d - b * c))


def bounding_corners(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest (x, y) of points (M, 2)."""
    return points.min(axis=0), points.max(axis=0)
