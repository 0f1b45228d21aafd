"""Checks that the numbers of a COCO file are px: keypoints and areas beside boxes whose unit is known."""

from __future__ import annotations

__all__ = ['check_pixel_units', 'count_unit_oddities']

from pathlib import Path

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.files.json_file import FIX_FILE_HINT, JsonRows

_MIN_JUDGED_KEYPOINTS = 8  # of a file: whether fewer are fractions of the image is not judged
_MIN_INSTANCE_KEYPOINTS = 4  # of one instance, beside its box
_MIN_PIXEL_EXTENT = 8.0  # px: boxes of less may hold keypoints that all lie within 2 px
_MAX_FRACTION = 1.5  # a keypoint in fractions of the image, with some overhang
_BOX_PADDING = 0.25  # of its size: keypoints that lie so far beside their box still belong to it
_PLAUSIBLE_FRACTION = 0.95  # of the keypoints: a unit in which so many lie in their boxes is plausible
_DOUBTFUL_FRACTION = 0.5  # of the keypoints: a unit in which fewer lie in their boxes is doubtful


def check_pixel_units(
    rows: JsonRows,
    keypoints: np.ndarray,
    visible: np.ndarray,
    areas: np.ndarray,
    boxes: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Refuse keypoints or areas that are fractions or percents of the image beside boxes in px.

    Args:
        rows: the annotations, for messages.
        keypoints: (N, K, 2) as in the file.
        visible: (N, K), 0 where not labeled.
        areas: (N,) as in the file, 0 where absent.
        boxes: (N, 4) xyxy in px; without an extent where an annotation has none.
        sizes: (N, 2) width and height of each annotation's image in px.

    Raises:
        AnnotationError: they are; the message has the file, and the annotation if it is a single one.
    """
    extents = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    has_pixel_box = extents >= _MIN_PIXEL_EXTENT
    extent = float(np.median(extents[extents > 0])) if (extents > 0).any() else 0.0
    if extent >= _MIN_PIXEL_EXTENT:
        _check_whole_file(rows.file, keypoints[visible > 0], areas, extent)
    judged = np.flatnonzero(has_pixel_box & ((visible > 0).sum(axis=1) >= _MIN_INSTANCE_KEYPOINTS))
    if not len(judged):
        return
    points, labeled, boxes, sizes = keypoints[judged], visible[judged] > 0, boxes[judged], sizes[judged]
    _check_single_instances(rows, judged, points, labeled, boxes, sizes)
    fit_px = _find_points_in_boxes(points, boxes)[labeled].mean()
    fit_percent = _find_points_in_boxes(points * sizes[:, None] / 100, boxes)[labeled].mean()
    if fit_px < _DOUBTFUL_FRACTION and fit_percent >= _PLAUSIBLE_FRACTION:
        raise AnnotationError(
            f'{rows.file}: read as px, {100 * (1 - fit_px):.0f} % of the labeled keypoints lie outside their boxes; '
            f'read as percent of the image, {100 * fit_percent:.0f} % lie in them. Convert them to px'
        )


def _check_whole_file(file: Path, labeled: np.ndarray, areas: np.ndarray, extent: float) -> None:
    """Refuse labeled keypoints (P, 2) or areas (N,) of which all are fractions; boxes have an extent in px."""
    if len(labeled) >= _MIN_JUDGED_KEYPOINTS and np.abs(labeled).max() <= 2:
        raise AnnotationError(
            f'{file}: its {len(labeled):,} labeled keypoints all lie within 2 px, and its boxes are {extent:.0f} px '
            f'large: the keypoints are fractions of the image, not pixels. Multiply them by the size of their images'
        )
    stated = areas[areas > 0]
    if len(stated) and stated.max() <= 1:
        raise AnnotationError(
            f'{file}: its areas are all at most 1 px², and its boxes are {extent:.0f} px large: the areas are '
            f'fractions of the image. Multiply them by width and height of their images, or leave them out'
        )


def _check_single_instances(
    rows: JsonRows, indices: np.ndarray, points: np.ndarray, labeled: np.ndarray, boxes: np.ndarray, sizes: np.ndarray
) -> None:
    """Refuse an instance whose keypoints lie in its box only as fractions of the image, as of a merged file."""
    is_small = (np.abs(points).max(axis=2) <= _MAX_FRACTION) | ~labeled
    fits = _find_points_in_boxes(points * sizes[:, None], boxes) | ~labeled
    is_fraction = is_small.all(axis=1) & fits.all(axis=1) & ~_find_points_in_boxes(points, boxes).all(axis=1)
    if is_fraction.any():
        raise AnnotationError(
            f'{rows.file}: {rows.describe_row(int(indices[np.argmax(is_fraction)]))}: its keypoints all lie within '
            f'{_MAX_FRACTION} px, and in its box as fractions of the image: multiply them by its size. {FIX_FILE_HINT}'
        )


def _find_points_in_boxes(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, K) bool: which points (N, K, 2) lie in or near the box (N, 4) of their instance."""
    padding = _BOX_PADDING * (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None, None]
    low, high = boxes[:, None, :2] - padding, boxes[:, None, 2:] + padding
    return ((points >= low) & (points <= high)).all(axis=2)


def count_unit_oddities(keypoints: np.ndarray, visible: np.ndarray, boxes: np.ndarray) -> list[tuple[int, str]]:
    """Count what is kept although it is likely to be a mistake of an exporter.

    Args:
        keypoints: (N, K, 2) px.
        visible: (N, K), 0 where not labeled.
        boxes: (N, 4) xyxy in px, all with an extent.

    Returns:
        The number of each, and what is odd about it.
    """
    labeled = visible > 0
    at_origin = (keypoints == 0).all(axis=2) & labeled
    num_outside = (~_find_points_in_boxes(keypoints, boxes) & labeled).sum(axis=1)
    return [
        (int(at_origin.sum()), 'keypoints labeled at exactly (0, 0), where exporters put those that are not labeled'),
        (int((2 * num_outside > labeled.sum(axis=1)).sum()), 'instances most of whose keypoints lie outside their box'),
    ]
