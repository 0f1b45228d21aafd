"""AI Challenger's keypoints, from the official files or from ones in COCO's format (Wu et al. 2017, arXiv:1711.06475).

The official file is a list of pictures: `image_id` (the name without .jpg), `human_annotations` (a box a person, x, y
of two corners) and `keypoint_annotations` (14 times x, y, flag), both by the person's name. Its flags are 1 visible, 2
not visible, 3 not in the picture or not to be guessed; here they become 2, 1 and 0. It gives no areas: its evaluation
takes the box's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.datasets.sources.base import Report, Source, locate
from poseplug.datasets.sources.boxes import has_extent
from poseplug.datasets.sources.coco_format import CocoFormat, by_picture
from poseplug.datasets.sources.json_file import ANEW, Rows, check_names, find_pictures, read_json
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeletons.aic import AIC

HALVES = {
    'train': ('keypoint_train_annotations_20170909.json', 'keypoint_train_images_20170902'),
    'val': ('keypoint_validation_annotations_20170911.json', 'keypoint_validation_images_20170911'),
}
FLAGS = np.array([0, 2, 1, 0], dtype=np.uint8)  # the file's 1, 2 and 3


@SOURCES.register_module()
class AICSource(Source):
    """AI Challenger, 14 joints: `half` is 'train' or 'val'; one record a picture with all its people.

    `annotations` and `images` name a file and a folder below `root`, by default the official ones. A file in COCO's
    format (an object, not a list) is read as such. A missing picture is an error, or a counted drop with
    `missing='drop'`. People without a labelled joint or without a box are counted; their boxes are ignored regions.
    """

    name = 'aic'
    how = "Get AI Challenger's keypoint set (train and validation, 2017-09), and unpack it"
    skeleton = AIC

    def __init__(
        self,
        root: str | Path | None = None,
        half: Literal['train', 'val'] = 'train',
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        missing: Literal['error', 'drop'] = 'error',
    ):
        if half not in HALVES:
            raise AnnotationError(f'{self.name}: half is one of {", ".join(HALVES)}; got {half!r}')
        file, folder = HALVES[half]
        self.root, self.missing = root, missing
        self.annotations, self.images = str(annotations or file), str(images or folder)

    def load(self) -> tuple[list[Record], Report]:
        folder = locate(self.root, self.name, self.annotations, self.how)
        file, images = folder / self.annotations, folder / self.images
        content = read_json(file)
        if isinstance(content, dict):
            return CocoFormat(AIC, self.name, missing=self.missing).read(file, images)
        pictures = Rows.of(file, content, 'picture', known_by='image_id')
        stems = check_names(pictures, 'image_id')
        pictures.distinct('image_id', stems)
        people = People.read(pictures)
        names = [name if name.endswith('.jpg') else f'{name}.jpg' for name in stems]
        there = find_pictures(images, names, self.missing, file)
        return self._records(people, stems, [images / name for name in names], there, Report(file))

    def _records(
        self, people: People, stems: list[str], paths: list[Path], there: np.ndarray, report: Report
    ) -> tuple[list[Record], Report]:
        kept = np.ones(len(people.picture), dtype=bool)
        seen = there[people.picture] if len(stems) else kept
        for good, cause in (
            (seen, 'with their picture missing'),
            ((people.visible > 0).any(axis=1), 'without a labelled joint (ignored regions)'),
            (has_extent(people.boxes), 'with a box of no extent'),
        ):
            report.dropped.update({cause: n} if (n := int((kept & ~good).sum())) else {})
            kept = kept & good
        report.kept = int(kept.sum())
        ignored = seen & ~kept & has_extent(people.boxes)
        of_kept, of_ignored = (by_picture(people.picture, mask, len(stems)) for mask in (kept, ignored))
        return [
            people.record(rows, ignore, paths[i], stems[i], self.name)
            for i, (rows, ignore) in enumerate(zip(of_kept, of_ignored, strict=True))
            if len(rows)
        ], report


@dataclass(frozen=True)
class People:
    """Everybody in a file: `picture` (N,) the place of theirs, `boxes` (N, 4), `keypoints` (N, 14, 2), `visible`."""

    picture: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    visible: np.ndarray

    @classmethod
    def read(cls, pictures: Rows) -> People:
        items: list[dict[str, Any]] = []
        picture: list[int] = []
        for i, found in enumerate(pictures.items):
            for key in ('human_annotations', 'keypoint_annotations'):
                if not isinstance(found.get(key), dict):
                    raise pictures.wrong(i, key, 'an object with one entry a person')
            boxes, joints = found['human_annotations'], found['keypoint_annotations']
            if boxes.keys() != joints.keys():
                raise pictures.wrong(i, 'human_annotations', f'of the people in keypoint_annotations, {[*joints]}')
            items += [dict(person=f'{pictures.name(i)}, {n}', bbox=boxes[n], keypoints=joints[n]) for n in joints]
            picture += [i] * len(joints)
        people = Rows(pictures.file, 'person', items, known_by='person')
        boxes = people.lists('bbox', 4, '4 finite numbers, x, y of two corners')
        count = len(AIC)
        values = people.lists('keypoints', 3 * count, f'{3 * count} finite numbers, x, y and flag of {count} joints')
        values = values.reshape(-1, count, 3)
        visible = flags_of(people, values[..., 2])
        points = np.where(visible[..., None] > 0, values[..., :2], 0.0)
        return cls(np.array(picture, dtype=np.int64), np.maximum(boxes, 0), points, visible)

    def record(self, rows: np.ndarray, ignored: np.ndarray, path: Path, name: str, source: str) -> Record:
        """The people of one picture."""
        boxes = self.boxes[rows]
        return Record(
            path=path,
            id=name,
            keypoints=self.keypoints[rows].astype(np.float32),
            visible=self.visible[rows],
            source=source,
            boxes=boxes,
            areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
            numbers=rows + 1,
            ignore=self.boxes[ignored],
            ignore_crowds=np.zeros(len(ignored), dtype=bool),
        )


def flags_of(people: Rows, flags: np.ndarray) -> np.ndarray:
    """The file's flags (N, 14) as 0 not labelled, 1 occluded, 2 visible."""
    wrong = ~np.isin(flags, (1, 2, 3))
    if wrong.any():
        i, joint = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{people.file}: {people.items[i]["person"]}: the flag of joint {AIC.joints[joint]!r} is 1, 2 or 3; found '
            f'{flags[i, joint]:g}. {ANEW}'
        )
    return FLAGS[flags.astype(int)]
