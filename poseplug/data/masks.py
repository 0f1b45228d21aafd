"""Segmentations in COCO's format (polygons or run lengths) and the loss mask that is drawn from them.

The format is that of cocodataset.org, format-data. Segmentations stay as stored until a mask is drawn: the points of
polygons go through the image's matrix, run lengths become a mask that is warped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from poseplug.core.geometry import Size, transform_points
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.sample import Record
from poseplug.files.images import MAX_IMAGE_PIXELS

# px: stored polygons count from the corner of the first pixel, positions in this package from its center
_PIXEL_CORNER_OFFSET = 0.5
_POLYGON_FRACTION_BITS = 4  # cv2.fillPoly takes integers: corners in 1/16 px
_MAX_COORDINATE_PX = 1e7  # larger numbers cannot be positions in an image
_MAX_DRAWN_COORDINATE_PX = 1 << 14  # corners farther out are drawn at this coordinate


@dataclass(frozen=True)
class RLEMask:
    """A binary mask as run lengths.

    Attributes:
        counts: (R,) lengths of the runs, column by column; the first run is of 0, the next of 1, and so on.
        size: (width, height) of the mask in px.
    """

    counts: np.ndarray
    size: Size

    def to_mask(self) -> np.ndarray:
        """Return the mask as (H, W) uint8 of 0 and 1."""
        # Runs alternate and begin with 0, so that a mask whose first pixel is 1 has a first run of length 0.
        values = np.arange(len(self.counts), dtype=np.int64) % 2
        return np.repeat(values, self.counts).astype(np.uint8).reshape(self.size).T


Polygons = tuple[np.ndarray, ...]  # (P, 2) each, in px from the center of the first pixel
Segmentation = Polygons | RLEMask


def parse_segmentation(stored: Any) -> Segmentation | None:
    """Parse the `segmentation` of an annotation in COCO's format.

    Args:
        stored: a list of polygons, each a flat list of x and y in turn; or an object of `counts` (a list, or COCO's
            packed text) and `size` (height, width).

    Returns:
        Polygons, those of fewer than three corners left out, or run lengths; None for an empty segmentation.

    Raises:
        ValueError: the value is neither; the message says what is expected.
    """
    if not stored:
        return None
    if isinstance(stored, Mapping):
        return _parse_rle(stored)
    if not isinstance(stored, Sequence) or isinstance(stored, str):
        raise ValueError('a list of polygons, or an object of counts and size')
    polygons = []
    for flat in stored:
        try:
            points = np.asarray(flat, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            points = np.full(1, np.nan)
        if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= _MAX_COORDINATE_PX).all():
            raise ValueError('polygons as lists of finite numbers, x and y in turn')
        # Two corners enclose nothing.
        if len(points) >= 6:
            polygons.append((points.reshape(-1, 2) - _PIXEL_CORNER_OFFSET).astype(np.float32))
    return tuple(polygons) or None


def _parse_rle(stored: Mapping[str, Any]) -> RLEMask:
    """Parse run lengths with their `size` (height, width)."""
    error = ValueError('run lengths (counts) that fill their size, height and width')
    counts, size = stored.get('counts'), stored.get('size')
    try:
        height, width = _parse_integers(size).tolist()
        num_pixels = height * width
        if min(height, width) < 1 or num_pixels > MAX_IMAGE_PIXELS:
            raise error
        if isinstance(counts, str | bytes):
            lengths = _decode_rle_string(counts, height, width)
        else:
            lengths = _parse_integers(counts)
    except (TypeError, ValueError, IndexError, OverflowError):
        raise error from None
    # Each run is checked before the sum, which could overflow.
    if ((lengths < 0) | (lengths > num_pixels)).any() or lengths.sum() != num_pixels:
        raise error
    return RLEMask(lengths.astype(np.int32), (width, height))


def _parse_integers(values: Any) -> np.ndarray:
    """Parse a list of integers as (n,) int64; anything else is a ValueError or a TypeError."""
    if not all(type(v) is int for v in values):
        raise ValueError('not integers')
    return np.array(values, dtype=np.int64)


def _decode_rle_string(text: str | bytes, height: int, width: int) -> np.ndarray:
    """Decode COCO's packed run lengths; anything else is a ValueError."""
    from faster_coco_eval import mask_api_new_cpp as mask_api

    try:
        # Differences of runs, 5 bits and a flag in a character: left to the package that implements COCO's functions.
        (rle,) = mask_api.toUncompressedRLE([{'size': [height, width], 'counts': text}])
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return np.array(rle['counts'], dtype=np.int64)


def build_loss_mask(record: Record, image_to_input: np.ndarray, input_size: Size) -> np.ndarray:
    """Draw which pixels of an input take part in the loss.

    Pixels of unlabeled instances do not, nor those of crowds except where a labeled instance is: a network must not
    learn that background is where instances were left unlabeled (the rule of part affinity fields' training, Cao et
    al. 2017). Regions without a segmentation count as their box. What lies outside the image takes part.

    Args:
        record: instances and ignored regions, in image px.
        image_to_input: (3, 3) matrix from image to input pixels.
        input_size: (width, height) of the input in px.

    Returns:
        (H, W) uint8, 1 where a pixel takes part and 0 elsewhere.
    """
    mask = np.ones((input_size[1], input_size[0]), np.uint8)
    instances, ignored = record.instances, record.ignored
    if not len(ignored):
        return mask
    # The order decides where regions overlap: crowds, then labeled instances, then unlabeled ones.
    _fill_regions(mask, ignored, ignored.crowds, image_to_input, 0)
    if ignored.crowds.any():
        # A box that only encloses keypoints does not show where the instance ends.
        _fill_regions(mask, instances, instances.has_box, image_to_input, 1)
    _fill_regions(mask, ignored, ~ignored.crowds, image_to_input, 0)
    return mask


def _fill_regions(
    mask: np.ndarray,
    regions: Instances | IgnoredRegions,
    selected: np.ndarray,
    image_to_input: np.ndarray,
    value: int,
) -> None:
    """Set the mask to `value` inside the selected segmentations, or boxes where there is none, in place."""
    for i in np.flatnonzero(selected):
        segmentation = regions.segmentations[i]
        if segmentation is None:
            segmentation = _box_to_polygons(regions.boxes[i])
        fill_segmentation(mask, segmentation, image_to_input, value)


def _box_to_polygons(box: np.ndarray) -> Polygons:
    """Return a box (4,), xyxy, as one polygon."""
    left, top, right, bottom = box
    return (np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32),)


def fill_segmentation(mask: np.ndarray, segmentation: Segmentation, image_to_input: np.ndarray, value: int) -> None:
    """Set a mask to `value` inside a segmentation, in place; the border of a polygon belongs to it.

    Args:
        mask: (H, W) uint8, in input px.
        segmentation: polygons or run lengths, in image px.
        image_to_input: (3, 3) matrix from image to input pixels.
        value: the value to write.
    """
    if isinstance(segmentation, RLEMask):
        # Nearest neighbor keeps the warped mask at 0 and 1.
        warped = cv2.warpAffine(segmentation.to_mask(), image_to_input[:2], mask.shape[::-1], flags=cv2.INTER_NEAREST)
        mask[warped > 0] = value
        return
    limit = _MAX_DRAWN_COORDINATE_PX
    for polygon in segmentation:
        corners = np.clip(transform_points(image_to_input, polygon.astype(float)), -limit, limit)
        fixed_point = np.rint(corners * (1 << _POLYGON_FRACTION_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [fixed_point], value, shift=_POLYGON_FRACTION_BITS)
