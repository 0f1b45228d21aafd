"""Frames Labeled In Cinema, from the official `examples.mat` (Sapp & Taskar, CVPR 2013).

Its struct array `examples` has one person a record. `coords` (2, 29) counts pixels from 1 and has NaN for the joints
that nobody labelled: eleven columns remain, always in the order of `COLUMNS`. `torsobox` is x, y of two corners.
Left and right are made consistent for the observer, as CPM's released code does: where the right shoulder lies to the
right of the left one, all pairs of names change places, as if everybody faced the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.datasets.sources.base import Report, Source, check_images, locate
from poseplug.datasets.sources.json_file import LARGEST
from poseplug.datasets.sources.matlab import read_structs
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeletons.flic import FLIC

COLUMNS = (
    'left_shoulder', 'left_elbow', 'left_wrist', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_hip',
    'right_hip', 'left_eye', 'right_eye', 'head',
)  # fmt: skip
TORSO_TO_SCALE = 0.0110  # a person's scale (height / 200 px) for each px of the torso box's height
NEEDED = ('coords', 'filepath', 'torsobox', 'istrain', 'istest')


@SOURCES.register_module()
class FLICSource(Source):
    """FLIC: upper bodies from films, nine joints, one record a picture with all its annotated people.

    `half` is 'train', 'test' or 'all'. A missing picture is an error, or a counted drop with `missing='drop'`.
    """

    name = 'flic'
    how = "Get 'FLIC' of Sapp & Taskar (5,003 examples: examples.mat and images/), and unpack it"
    skeleton = FLIC

    def __init__(
        self,
        root: str | Path | None = None,
        half: Literal['train', 'test', 'all'] = 'all',
        missing: Literal['error', 'drop'] = 'error',
    ):
        if half not in ('train', 'test', 'all'):
            raise AnnotationError(f"{self.name}: half is 'train', 'test' or 'all'; got {half!r}")
        self.root, self.half, self.missing = root, half, missing

    def load(self) -> tuple[list[Record], Report]:
        folder = locate(self.root, self.name, 'examples.mat', self.how)
        file = folder / 'examples.mat'
        examples = [Example(file, i + 1, fields) for i, fields in enumerate(read_structs(file, 'examples'))]
        wanted = [e for e in examples if self.half == 'all' or e.flag(f'is{self.half}')]
        there = check_images(folder / 'images', [e.picture for e in wanted], self.missing, file)
        kept = [e for e, found in zip(wanted, there, strict=True) if found]
        report = Report(file, kept=len(kept))
        report.dropped.update({'with their picture missing': n} if (n := len(wanted) - len(kept)) else {})
        return together([e.record(folder / 'images', self.name) for e in kept]), report


class Example:
    """One struct of the file: its values, or an error that names the file, the record and the field."""

    def __init__(self, file: Path, number: int, fields: Mapping[str, Any]):
        self.file, self.number, self.fields = file, number, fields
        absent = [n for n in NEEDED if n not in fields]
        if absent:
            raise AnnotationError(
                f"{file}: the examples have no field '{absent[0]}'; they have {', '.join(fields)}. This is another file"
            )
        self.picture = fields['filepath']
        if not isinstance(self.picture, str) or not self.picture or Path(self.picture).name != self.picture:
            raise self.wrong('filepath', 'the name of a picture')

    def wrong(self, field: str, wanted: str) -> AnnotationError:
        """The error of a value that is not what it should be."""
        return AnnotationError(
            f'{self.file}: record {self.number} ({self.fields["filepath"]}): {field} is {wanted}; found '
            f'{told(self.fields[field])}. Correct the file or take it anew from its archive'
        )

    def flag(self, field: str) -> bool:
        value = np.asarray(self.fields[field])
        if value.size != 1 or value.item() not in (0, 1):
            raise self.wrong(field, '0 or 1')
        return bool(value.item())

    def points(self) -> np.ndarray:
        """(9, 2) joints of the skeleton in pixels counted from 0, with names as the observer sees them."""
        coords = self.fields['coords']
        known = possible(coords).all(axis=0) if isinstance(coords, np.ndarray) and coords.ndim == 2 else np.zeros(0)
        if np.shape(coords)[:1] != (2,) or known.sum() != len(COLUMNS):
            raise self.wrong('coords', f'(2, 29) with {len(COLUMNS)} labelled columns, the others NaN')
        points = coords[:, known].T[[COLUMNS.index(joint) for joint in FLIC.joints]] - 1
        return points if seen_from_front(points) else points[FLIC.mirror]

    def torso(self) -> np.ndarray:
        """(4,) the box around the torso, x and y of two corners counted from 0."""
        box = self.fields['torsobox']
        numbers = isinstance(box, np.ndarray) and box.size == 4 and possible(box).all()
        if not numbers or not box.ravel()[3] > box.ravel()[1]:
            raise self.wrong('torsobox', 'x1, y1, x2, y2 with y2 over y1')
        return np.ravel(box) - 1

    def record(self, folder: Path, source: str) -> Record:
        x1, y1, x2, y2 = self.torso()
        return Record(
            path=folder / self.picture,
            id=self.picture,
            keypoints=self.points()[None].astype(np.float32),
            visible=np.full((1, len(FLIC)), 2, np.uint8),
            source=source,
            centers=np.array([[(x1 + x2) / 2, 0.7 * y1 + 0.3 * y2]]),
            scales=np.array([TORSO_TO_SCALE * (y2 - y1)], dtype=np.float32),
        )


def possible(numbers: np.ndarray) -> np.ndarray:
    """Which numbers can be positions in a picture."""
    return np.abs(numbers) <= LARGEST


def seen_from_front(points: np.ndarray) -> bool:
    """Whether the right shoulder of (9, 2) joints does not lie to the right of the left one."""
    return bool(points[FLIC.index('right_shoulder'), 0] <= points[FLIC.index('left_shoulder'), 0])


def together(people: list[Record]) -> list[Record]:
    """One record a picture, with all its people, in the order of their first."""
    pictures: dict[Path, list[Record]] = {}
    for person in people:
        pictures.setdefault(person.path, []).append(person)
    return [replace(group[0], **stacked(group)) for group in pictures.values()]


def stacked(people: list[Record]) -> dict[str, Any]:
    """The arrays of several people's records, one after the other."""
    arrays = ('keypoints', 'visible', 'centers', 'scales')
    return {n: np.concatenate([getattr(r, n) for r in people]) for n in arrays}


def told(value: Any) -> str:
    """A value for an error message, in a few words."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f'an array {value.shape} with {np.isfinite(value).sum()} finite numbers'
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)
