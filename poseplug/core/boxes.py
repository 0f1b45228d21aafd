"""Box arithmetic, for NumPy arrays and torch tensors alike; torch is imported only when a tensor comes in.

Boxes are (..., 4), x and y of the upper left and the lower right corner in px, unless the name says `xywh`.
"""

from __future__ import annotations

__all__ = [
    'AREA_FRACTION_OF_BOX',
    'BoxFormat',
    'DetectedBoxes',
    'aligned_box_iou',
    'box_areas',
    'box_iou',
    'boxes_to_corners',
    'clip_boxes',
    'clip_boxes_to_region',
    'enclose_keypoints',
    'has_extent',
    'transform_boxes',
    'xywh_to_xyxy',
    'xyxy_to_xywh',
]

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np

from poseplug.core.geometry import transform_points

if TYPE_CHECKING:
    from torch import Tensor

_ArrayT = TypeVar('_ArrayT', np.ndarray, 'Tensor')

BoxFormat = Literal['xywh', 'xyxy']

AREA_FRACTION_OF_BOX = 0.53  # a person's area relative to that of their box: COCO's average

_FOUR_CORNERS = [0, 1, 2, 1, 2, 3, 0, 3]  # of x1, y1, x2, y2: the columns that make the corners of a box in turn


class DetectedBoxes(NamedTuple):
    """The detections of one image.

    Attributes:
        boxes: (N, 4) xyxy in px, clipped to the image.
        scores: (N,) confidences.
    """

    boxes: np.ndarray
    scores: np.ndarray


def _array_module(array: Any) -> Any:
    """The module whose functions take the array: numpy, or torch for a tensor."""
    if isinstance(array, np.ndarray):
        return np
    # Not imported for arrays: exported models run without torch.
    import torch

    return torch


def box_areas(boxes: _ArrayT) -> _ArrayT:
    """Return the areas (...) of boxes (..., 4) in px²; 0 for a box whose second corner is not beyond the first."""
    areas: _ArrayT = (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)
    return areas


def has_extent(boxes: _ArrayT) -> _ArrayT:
    """Return which boxes (..., 4) have a positive width and height, as (...) bool."""
    is_positive: Any = boxes[..., 2:] > boxes[..., :2]
    are_both_positive: _ArrayT = is_positive.all(-1)
    return are_both_positive


def aligned_box_iou(boxes: _ArrayT, other_boxes: _ArrayT) -> _ArrayT:
    """Intersection over union of each box with the other box at the same index.

    Args:
        boxes: (..., 4).
        other_boxes: (..., 4), of the same shape or one that broadcasts.

    Returns:
        (...) from 0 to 1; 0 if the union is empty.
    """
    module: Any = _array_module(boxes)
    low = module.maximum(boxes[..., :2], other_boxes[..., :2])
    high = module.minimum(boxes[..., 2:], other_boxes[..., 2:])
    intersection = (high - low).clip(min=0).prod(-1)
    union = box_areas(boxes) + box_areas(other_boxes) - intersection
    # The union of two boxes without an area is 0; a 1 in its place keeps NumPy from warning of 0 / 0.
    iou: _ArrayT = intersection / module.where(union > 0, union, 1)
    return iou


def box_iou(boxes: _ArrayT, other_boxes: _ArrayT) -> _ArrayT:
    """Intersection over union of every box with every other box.

    Args:
        boxes: (..., N, 4).
        other_boxes: (..., M, 4).

    Returns:
        (..., N, M) from 0 to 1; 0 if the union is empty.

    Example:
        >>> box_iou(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 5], [20, 20, 30, 30]])).tolist()
        [[0.5, 0.0]]
    """
    return aligned_box_iou(boxes[..., :, None, :], other_boxes[..., None, :, :])


def xywh_to_xyxy(boxes: _ArrayT) -> _ArrayT:
    """Convert boxes (..., 4) from x, y, width, height to two corners."""
    # As in COCO, a width is the distance between two sides: nothing is added for the last pixel.
    corners: _ArrayT = _array_module(boxes).concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
    return corners


def xyxy_to_xywh(boxes: _ArrayT) -> _ArrayT:
    """Convert boxes (..., 4) from two corners to x, y, width, height."""
    xywh_boxes: _ArrayT = _array_module(boxes).concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)
    return xywh_boxes


def boxes_to_corners(boxes: _ArrayT, box_format: BoxFormat) -> _ArrayT:
    """Convert boxes (..., 4) of a format to two corners; boxes that already are corners are returned as they are."""
    return xywh_to_xyxy(boxes) if box_format == 'xywh' else boxes


def transform_boxes(matrix: Any, boxes: _ArrayT) -> _ArrayT:
    """Apply an affine matrix (3, 3) to boxes (N, 4); a rotated box becomes the one that encloses its corners."""
    module = _array_module(boxes)
    # All four corners: after a rotation any of them may be the outermost one.
    corners = transform_points(matrix, boxes[:, _FOUR_CORNERS].reshape(-1, 4, 2))
    enclosing_boxes: _ArrayT = module.concatenate([module.amin(corners, 1), module.amax(corners, 1)], 1)
    return enclosing_boxes


def clip_boxes(boxes: _ArrayT, image_sizes: _ArrayT) -> _ArrayT:
    """Clip boxes to their images.

    Args:
        boxes: (N, 4).
        image_sizes: (N, 2), or (1, 2) for all; width and height in px.

    Returns:
        (N, 4) with x from 0 to the width and y from 0 to the height.
    """
    module = _array_module(boxes)
    clipped_boxes: _ArrayT = module.minimum(boxes.clip(min=0), module.concatenate([image_sizes, image_sizes], 1))
    return clipped_boxes


def clip_boxes_to_region(boxes: _ArrayT, region: _ArrayT) -> _ArrayT:
    """Return the part (..., 4) of boxes that lies in a region (4,); without an extent if there is none."""
    module = _array_module(boxes)
    low = module.maximum(boxes[..., :2], region[:2])
    high = module.minimum(boxes[..., 2:], region[2:])
    # Beyond the region `high` lies before `low`; a negative width would count as an area elsewhere.
    clipped_boxes: _ArrayT = module.concatenate([low, module.maximum(low, high)], -1)
    return clipped_boxes


def enclose_keypoints(keypoints: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the boxes that enclose the keypoints of each instance.

    Args:
        keypoints: (N, K, 2) px.
        mask: (N, K) bool, which keypoints count.

    Returns:
        (N, 4); zeros for an instance none of whose keypoints count.
    """
    # Infinities lose against every keypoint that counts, and where none does, the last line replaces them.
    counts = mask[..., None]
    low = np.where(counts, keypoints, np.inf).min(axis=1)
    high = np.where(counts, keypoints, -np.inf).max(axis=1)
    return np.where(counts.any(axis=1), np.concatenate([low, high], axis=1), 0.0)
