"""Reads the boxes of a detector from a result file in COCO's format: objects of image_id, category_id, bbox and score.

A file does not say whether its four numbers are x, y, width, height (COCO's format) or x, y of two corners. The caller
declares it, and a file that is plainly in the other format is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from poseplug.core.boxes import (
    BoxFormat,
    DetectedBoxes,
    boxes_to_corners,
    clip_boxes,
    has_extent,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from poseplug.core.errors import AnnotationError
from poseplug.data.sources.base import SourceReport
from poseplug.files.json_file import JsonRows, read_json

_BOX_FORMATS = {'xywh': 'x, y, width, height', 'xyxy': 'x, y of two corners'}
_MIN_JUDGED_BOXES = 8  # the format of fewer boxes is not judged: a few may fit both
_MAX_OVERHANG_FRACTION = 0.25  # of a box's size: by less, boxes of detectors leave images, too
_MIN_JUDGED_SIDE = 16  # px of an image: whether few boxes in a smaller one are fractions is not judged
_BORDER_TOLERANCE = 0.05  # of the image's size; a box that leaves its image by less still fits
_PLAUSIBLE_FRACTION = 0.95  # a format that so many boxes fit is plausible
_DOUBTFUL_FRACTION = 0.8  # a format that fewer boxes fit is doubtful


def read_detected_boxes(
    file: str | Path,
    image_sizes: Mapping[int, tuple[int, int]],
    box_format: BoxFormat = 'xywh',
    min_score: float = 0.0,
    category_id: int = 1,
) -> tuple[dict[int, DetectedBoxes], SourceReport]:
    """Read the boxes of a detector, by image id.

    Args:
        file: a JSON list of objects with image_id, bbox and score; without category_id, every box is of `category_id`.
        image_sizes: (width, height) in px of the images to read, by image id.
        box_format: 'xywh' or 'xyxy', what the four numbers of a box are.
        min_score: boxes with a lower score are dropped.
        category_id: the category to read; boxes of others are dropped.

    Returns:
        The boxes of every image that has any, and the number of boxes kept and dropped.

    Raises:
        AnnotationError: a value is not what it should be, or the boxes are plainly not in `box_format`.
    """
    file = Path(file)
    expected = f'4 finite numbers ({_BOX_FORMATS[_parse_box_format(box_format)]})'
    rows = JsonRows.from_list(file, read_json(file), 'box', id_key='image_id')
    image_ids = rows.read_integers('image_id')
    scores = rows.read_numbers('score', 'a finite number')
    boxes = boxes_to_corners(rows.read_lists('bbox', 4, expected), box_format)
    # Boxes of images that are not listed get the size 0, and are dropped by it.
    sizes = np.array([image_sizes.get(i, (0, 0)) for i in image_ids.tolist()], dtype=float).reshape(-1, 2)
    of_category = rows.read_integers('category_id', default=category_id) == category_id
    # Images that the annotation file does not list got the size 0.
    listed = (sizes > 0).all(axis=1)
    # Before the boxes are clipped: clipped boxes fit their images in any format.
    check_box_format(boxes[of_category & listed], sizes[of_category & listed], box_format, file)
    clipped = clip_boxes(boxes, sizes)
    report = SourceReport(file)
    selected = np.ones(len(rows), dtype=bool)
    selected = report.drop_invalid(selected, of_category, 'of another category')
    selected = report.drop_invalid(selected, listed, 'of other images')
    selected = report.drop_invalid(selected, scores >= min_score, f'with a score below {min_score:g}')
    selected = report.drop_invalid(selected, has_extent(clipped), 'empty inside the image')
    report.kept = int(selected.sum())
    # Stable, so that the boxes of an image stay in the file's order.
    order = np.flatnonzero(selected)[np.argsort(image_ids[selected], kind='stable')]
    unique_ids, starts = np.unique(image_ids[order], return_index=True)
    groups = np.split(order, starts[1:]) if len(order) else []
    return {int(i): DetectedBoxes(clipped[g], scores[g]) for i, g in zip(unique_ids, groups, strict=True)}, report


def _parse_box_format(box_format: str) -> BoxFormat:
    """Check a declared format; the error lists the known ones."""
    if box_format not in _BOX_FORMATS:
        known = ' or '.join(f"'{name}' ({meaning})" for name, meaning in _BOX_FORMATS.items())
        raise AnnotationError(f'the format of boxes is {known}; got {box_format!r}')
    return 'xywh' if box_format == 'xywh' else 'xyxy'


def check_box_format(boxes: np.ndarray, image_sizes: np.ndarray, box_format: BoxFormat, file: Path) -> None:
    """Refuse boxes that cannot be in the declared format.

    Args:
        boxes: (N, 4) xyxy in px, converted from `box_format`; fewer than 8 are refused only if they are fractions,
            or if all leave their images widely and fit in the other format.
        image_sizes: (N, 2) width and height of each box's image in px.
        box_format: 'xywh' or 'xyxy', the format that was declared for the file.
        file: the file, for the error message.

    Raises:
        AnnotationError: few boxes fit their images and the other format would fit; or all boxes lie within 2 px, so
            that they are fractions of the image; or most boxes fit their images in neither format.
    """
    is_judged = len(boxes) >= _MIN_JUDGED_BOXES
    positive = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
    # Fractions reach 1 and a little more at the border; boxes in px that all end within 2 px are no detector's.
    if len(positive) and np.abs(positive).max() <= 2 and (is_judged or image_sizes.min() >= _MIN_JUDGED_SIDE):
        raise AnnotationError(
            f'{file}: its {len(positive):,} boxes all lie within 2 px: they are fractions of the image, not pixels. '
            f'Multiply them by the size of their images'
        )
    other = 'xyxy' if box_format == 'xywh' else 'xywh'
    if not is_judged and not _leave_images_widely(boxes, image_sizes):
        return
    fit, other_fit = compute_fit_fraction(boxes, image_sizes), _compute_other_fit(boxes, image_sizes, box_format)
    misfit_percent = f'{100 * (1 - fit):.0f} %'
    if fit < _DOUBTFUL_FRACTION and other_fit >= _PLAUSIBLE_FRACTION:
        raise AnnotationError(
            f"{file}: its boxes are not '{box_format}' ({_BOX_FORMATS[box_format]}): read so, {misfit_percent} of "
            f"{len(boxes):,} leave their images or have no extent; read as '{other}' ({_BOX_FORMATS[other]}), "
            f"{100 * other_fit:.0f} % fit. Declare '{other}'"
        )
    if fit < 0.5 and is_judged:
        raise AnnotationError(
            f'{file}: {misfit_percent} of its {len(boxes):,} boxes leave their images or have no extent, in either '
            f'format; they belong to other images, or to images of another size. Use the file made for these images'
        )


def _leave_images_widely(boxes: np.ndarray, image_sizes: np.ndarray) -> bool:
    """Whether each of a few boxes (N, 4) has no extent or leaves its image by more than a quarter of its size."""
    box_sizes = boxes[:, 2:] - boxes[:, :2]
    overhangs = boxes[:, 2:] - image_sizes
    leaves = (box_sizes <= 0).any(axis=1) | (overhangs > _MAX_OVERHANG_FRACTION * box_sizes).any(axis=1)
    return bool(len(boxes)) and bool(leaves.all())


def _compute_other_fit(boxes: np.ndarray, image_sizes: np.ndarray, box_format: BoxFormat) -> float:
    """Return the fraction of converted boxes that fit if the file is in the other format."""
    converted = xyxy_to_xywh(boxes) if box_format == 'xywh' else xywh_to_xyxy(boxes)
    return compute_fit_fraction(converted, image_sizes)


def compute_fit_fraction(boxes: np.ndarray, image_sizes: np.ndarray) -> float:
    """Return the fraction of boxes that have an extent and lie in their images, give or take 5 % of the image's size.

    Args:
        boxes: (N, 4) xyxy in px.
        image_sizes: (N, 2) width and height of each box's image in px.

    Returns:
        The fraction, 0 to 1.
    """
    tolerance = _BORDER_TOLERANCE * image_sizes
    inside = (boxes[:, :2] >= -tolerance).all(axis=1) & (boxes[:, 2:] <= image_sizes + tolerance).all(axis=1)
    return float((inside & has_extent(boxes)).mean())
