"""Boxes that a detector found, from a result file in COCO's layout: a list of image_id, category_id, bbox and score.

A file does not say whether its four numbers are x, y, width, height (COCO's way) or x, y of two corners. The caller
does, and a file that is plainly the other way is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from poseplug.datasets.sources.base import Report
from poseplug.datasets.sources.json_file import Rows, read_json
from poseplug.errors import AnnotationError

Form = Literal['xywh', 'xyxy']
FORMS = {'xywh': 'x, y, width, height', 'xyxy': 'x, y of two corners'}
JUDGED = 8  # boxes from which on their format is judged
BEYOND = 0.05  # of the picture's size that a box may reach beyond it and still fit
FIT, MISFIT = 0.95, 0.8  # shares of boxes that fit: from here on a format is plausible; below, doubtful


class Found(NamedTuple):
    """What was found in one picture: `boxes` (N, 4) as two corners, inside the picture, and `scores` (N,)."""

    boxes: np.ndarray
    scores: np.ndarray


def read_boxes(
    file: str | Path,
    sizes: Mapping[int, tuple[int, int]],
    form: Form = 'xywh',
    least_score: float = 0.0,
    category: int = 1,
) -> tuple[dict[int, Found], Report]:
    """The boxes of every picture, by image id, and the count of those left out.

    Args:
        file: a JSON list of objects with image_id, bbox and score; without category_id everything is a person.
        sizes: (width, height) of the pictures that count, by image id.
        form: what the four numbers of a box are.
        least_score: boxes below it are left out, and counted.
        category: the category_id of people.

    Raises:
        AnnotationError: a value is not what it should be, or the boxes are of another format than `form`.
    """
    file = Path(file)
    rows = Rows.of(file, read_json(file), 'box', known_by='image_id')
    pictures = rows.wholes('image_id')
    scores = rows.numbers('score', 'a finite number')
    boxes = corners(rows.lists('bbox', 4, f'4 finite numbers ({FORMS[check_form(form)]})'), form)
    size = np.array([sizes.get(i, (0, 0)) for i in pictures.tolist()], dtype=float).reshape(-1, 2)
    person, listed = rows.wholes('category_id', default=category) == category, (size > 0).all(axis=1)
    check_format(boxes[person & listed], size[person & listed], form, file)
    inside = clipped(boxes, size)
    report = Report(file)
    kept = np.ones(len(rows), dtype=bool)
    for good, cause in (
        (person, 'of another category'),
        (listed, 'of other pictures'),
        (scores >= least_score, f'with a score below {least_score:g}'),
        (has_extent(inside), 'without an extent inside their picture'),
    ):
        report.dropped.update({cause: n} if (n := int((kept & ~good).sum())) else {})
        kept &= good
    report.kept = int(kept.sum())
    order = np.flatnonzero(kept)[np.argsort(pictures[kept], kind='stable')]
    ids, first = np.unique(pictures[order], return_index=True)
    groups = np.split(order, first[1:]) if len(order) else []
    return {int(i): Found(inside[g], scores[g]) for i, g in zip(ids, groups, strict=True)}, report


def check_form(form: str) -> Form:
    """The declared format of boxes, or an error that lists the known ones."""
    if form not in FORMS:
        known = ' or '.join(f"'{name}' ({meaning})" for name, meaning in FORMS.items())
        raise AnnotationError(f'the format of boxes is {known}; got {form!r}')
    return 'xywh' if form == 'xywh' else 'xyxy'


def corners(boxes: np.ndarray, form: Form) -> np.ndarray:
    """Boxes (N, 4) of a format as x, y of two corners."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) if form == 'xywh' else boxes


def clipped(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) as two corners, cut at 0 and at the size (N, 2) of their pictures."""
    return np.clip(boxes, 0, np.concatenate([sizes, sizes], axis=1))


def has_extent(boxes: np.ndarray) -> np.ndarray:
    """(N,) which boxes (N, 4), as two corners, hold anything."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def check_format(boxes: np.ndarray, sizes: np.ndarray, form: Form, file: Path) -> None:
    """An error where boxes (N, 4), turned into two corners as `form` says, cannot be of that format."""
    if len(boxes) < JUDGED:
        return
    other = 'xyxy' if form == 'xywh' else 'xywh'
    size = boxes[:, 2:] - boxes[:, :2]
    turned = np.concatenate([boxes[:, :2], size if form == 'xywh' else boxes[:, :2] + boxes[:, 2:]], axis=1)
    ours, theirs = fits(boxes, sizes), fits(turned, sizes)
    if ours < MISFIT and theirs >= FIT:
        raise AnnotationError(
            f"{file}: its boxes are not '{form}' ({FORMS[form]}): read so, {100 * (1 - ours):.0f} % of {len(boxes):,} "
            f"leave their pictures or have no extent; read as '{other}' ({FORMS[other]}), {100 * theirs:.0f} % fit. "
            f"Declare '{other}'"
        )
    if np.abs(boxes).max() <= 2:
        raise AnnotationError(
            f'{file}: its {len(boxes):,} boxes all lie within 2 px: they are shares of the picture, not pixels. '
            f'Multiply them by the size of their pictures'
        )
    if ours < 0.5:
        raise AnnotationError(
            f'{file}: {100 * (1 - ours):.0f} % of its {len(boxes):,} boxes leave their pictures or have no extent, '
            f'whichever format they are read as; they belong to other pictures, or to pictures of another size'
        )


def fits(boxes: np.ndarray, sizes: np.ndarray) -> float:
    """The share of boxes (N, 4), as two corners, that have an extent and lie in their pictures, or nearly."""
    room = BEYOND * sizes
    inside = (boxes[:, :2] >= -room).all(axis=1) & (boxes[:, 2:] <= sizes + room).all(axis=1)
    return float((inside & has_extent(boxes)).mean())
