"""The shapes of people and of crowds in COCO's format: polygons, or run lengths (cocodataset.org, format-data).

They stay as they are stored until a mask is drawn, where polygons go through the matrix and run lengths are warped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from poseplug.datasets.images import MOST_PIXELS
from poseplug.geometry import Size, apply
from poseplug.sample import Record

CORNER = 0.5  # px: a stored outline counts from the corner of the first pixel, a position here from its centre
SHIFT = 4  # fractional bits of a polygon's corners, for OpenCV
LARGEST = 1e7  # px: beyond it a number is no position in a picture
FAR = 1 << 14  # px; corners further out than this are drawn there


@dataclass(frozen=True)
class Runs:
    """A mask of (width, height) as the lengths of its runs, column by column: first of 0, then of 1, and so on."""

    counts: np.ndarray
    size: Size

    def mask(self) -> np.ndarray:
        """(H, W) uint8 of 0 and 1."""
        values = np.arange(len(self.counts), dtype=np.int64) % 2
        return np.repeat(values, self.counts).astype(np.uint8).reshape(self.size).T


Polygons = tuple[np.ndarray, ...]  # (P, 2) each
Outline = Polygons | Runs


def read_outline(stored: Any) -> Outline | None:
    """A `segmentation` of COCO's format, or None where it says nothing. A ValueError tells what it should be."""
    if not stored:
        return None
    if isinstance(stored, Mapping):
        return read_runs(stored)
    if not isinstance(stored, Sequence) or isinstance(stored, str):
        raise ValueError('a list of polygons, or an object of counts and size')
    polygons = []
    for flat in stored:
        try:
            points = np.asarray(flat, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            points = np.full(1, np.nan)
        if points.ndim != 1 or len(points) % 2 or not (np.abs(points) <= LARGEST).all():
            raise ValueError('polygons as lists of finite numbers, x and y in turn')
        if len(points) >= 6:
            polygons.append((points.reshape(-1, 2) - CORNER).astype(np.float32))
    return tuple(polygons) or None


def read_runs(stored: Mapping[str, Any]) -> Runs:
    """Run lengths with their `size` (height, width), as a list or packed into text."""
    wanted = ValueError('run lengths (counts) that fill their size, height and width')
    counts, size = stored.get('counts'), stored.get('size')
    try:
        lengths = unpacked(counts) if isinstance(counts, str | bytes) else wholes(counts)
        height, width = wholes(size).tolist()
    except (TypeError, ValueError, IndexError, OverflowError):
        raise wanted from None
    pixels = height * width
    if min(height, width) < 1 or pixels > MOST_PIXELS or ((lengths < 0) | (lengths > pixels)).any():
        raise wanted
    if lengths.sum() != pixels:
        raise wanted
    return Runs(lengths.astype(np.int32), (width, height))


def wholes(values: Any) -> np.ndarray:
    """(n,) a list of whole numbers; anything else is a ValueError or a TypeError."""
    if not all(type(v) is int for v in values):
        raise ValueError('not whole numbers')
    return np.array(values, dtype=np.int64)


def unpacked(text: str | bytes) -> np.ndarray:
    """The run lengths in COCO's text: five bits a character, low ones first, from the third on less the last but one.

    Bit 6 of a character says that more follow, and bit 5 of the last one that the number is negative.
    """
    codes = text.encode() if isinstance(text, str) else text
    lengths: list[int] = []
    value = bits = 0
    for code in codes:
        group = code - 48
        value |= (group & 0x1F) << bits
        bits += 5
        if not group & 0x20:
            value -= (1 << bits) if group & 0x10 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError('the text ends within a number')
    return np.array(lengths, dtype=np.int64)


def counting(record: Record, matrix: np.ndarray, size: Size) -> np.ndarray:
    """(H, W) uint8 of an input of `size`: 0 on people without labels and on crowds beside labelled people, else 1.

    The rule of part affinity fields' training (Cao et al. 2017): a network is not told that nobody is where nobody was
    labelled. What has no outline counts as its box; what lies outside the picture counts.
    """
    mask = np.ones((size[1], size[0]), np.uint8)
    if record.ignore is None or not len(record.ignore):
        return mask
    crowds = np.ones(len(record.ignore), bool) if record.ignore_crowds is None else record.ignore_crowds
    draw_all(mask, record.ignore_outlines, record.ignore, crowds, matrix, 0)
    if crowds.any() and record.boxes is not None:
        draw_all(mask, record.outlines, record.boxes, np.ones(len(record.boxes), bool), matrix, 1)
    draw_all(mask, record.ignore_outlines, record.ignore, ~crowds, matrix, 0)
    return mask


def draw_all(
    mask: np.ndarray, outlines: np.ndarray | None, boxes: np.ndarray, chosen: np.ndarray, matrix: np.ndarray, value: int
) -> None:
    """Set the chosen ones of outlines, or of boxes (N, 4) where there is none, to a value, in place."""
    for i in np.flatnonzero(chosen):
        outline = None if outlines is None else outlines[i]
        draw(mask, of_box(boxes[i]) if outline is None else outline, matrix, value)


def of_box(box: np.ndarray) -> Polygons:
    """A box (4,) as a polygon."""
    left, top, right, bottom = box
    return (np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32),)


def draw(mask: np.ndarray, outline: Outline, matrix: np.ndarray, value: int) -> None:
    """Set a mask (H, W) to `value` inside an outline that goes through a matrix (3, 3), in place."""
    if isinstance(outline, Runs):
        seen = cv2.warpAffine(outline.mask(), matrix[:2], mask.shape[::-1], flags=cv2.INTER_NEAREST)
        mask[seen > 0] = value
        return
    corners = [np.clip(apply(matrix, p.astype(float)), -FAR, FAR) * (1 << SHIFT) for p in outline]
    for polygon in corners:
        cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], value, shift=SHIFT)
