"""COCO keypoints, from the official `person_keypoints_*.json` (Lin et al. 2014, arXiv:1405.0312)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from poseplug.datasets.sources.base import Report, Source, locate
from poseplug.datasets.sources.boxes import Form, Found, read_boxes
from poseplug.datasets.sources.coco_format import CocoFormat
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO

NOBODY = Found(np.zeros((0, 4)), np.zeros(0))


class CocoFormatSource(Source):
    """A data set in COCO's format: one record a picture, boxes as two corners cut at the picture's border.

    `annotations` and `images` name a file and a folder, absolute or below `root`; by default the official ones of a
    `half`. A missing picture is an error, or a counted drop with `missing='drop'`.

    Crowds, people without a labelled joint and people with fewer than `min_joints` are no targets: they are counted as
    dropped, and their boxes are the record's `ignore`. With `empty` pictures without people are records too (for
    testing models that take whole pictures). With `outlines` the shapes of people and of ignored regions are kept (for
    training such models); without, or where the file gives none, their boxes serve.

    `boxes` is a detector's result file, for testing: every record then holds the found people of at least
    `least_score` with `box_scores` and no joints, and as `truth` the annotated ones. A picture of annotated people
    without a box is a record of nobody, so that they are missed. `box_format` is 'xywh' or 'xyxy', as in the file.
    """

    name: str
    how: str
    halves: dict[str, tuple[str, str]]  # the file and the folder of each half
    form: CocoFormat

    def __init__(
        self,
        root: str | Path | None = None,
        half: str = 'train',
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        missing: Literal['error', 'drop'] = 'error',
        min_joints: int = 1,
        empty: bool = False,
        sizes: int = 64,
        boxes: str | Path | None = None,
        box_format: Form = 'xywh',
        least_score: float = 0.0,
        outlines: bool = False,
    ):
        if half not in self.halves:
            raise AnnotationError(f'{self.name}: half is one of {", ".join(self.halves)}; got {half!r}')
        file, folder = self.halves[half]
        self.root = root
        self.annotations, self.images = str(annotations or file), str(images or folder)
        self.boxes, self.box_format, self.least_score = boxes, box_format, least_score
        self.form = replace(
            self.form, missing=missing, min_joints=min_joints, empty=empty, sizes=sizes, outlines=outlines
        )
        self.skeleton = self.form.skeleton

    def load(self) -> tuple[list[Record], Report]:
        folder = locate(self.root, self.name, self.annotations, self.how)
        file, images = folder / self.annotations, folder / self.images
        if self.boxes is None:
            return self.form.read(file, images)
        truth, annotated, sizes = replace(self.form, empty=True).read_with_sizes(file, images)
        found, report = read_boxes(folder / self.boxes, sizes, self.box_format, self.least_score)
        records = [with_boxes(r, found.get(int(r.id), NOBODY)) for r in truth]
        missed = [len(r.truth.keypoints) for r in records if r.truth is not None and not len(r.keypoints)]
        if any(missed):
            report.notes.append(f'{sum(missed)} annotated people on pictures without a box are missed')
        report.notes.append(f'annotations: {annotated}')
        somebody = [len(r.keypoints) + len(t.keypoints) for r, t in zip(records, truth, strict=True)]
        return [r for r, count in zip(records, somebody, strict=True) if count or self.form.empty], report


def with_boxes(truth: Record, found: Found) -> Record:
    """The picture of a record with the people that were found instead of the annotated ones."""
    count, joints = len(found.boxes), truth.keypoints.shape[1]
    return Record(
        path=truth.path,
        id=truth.id,
        keypoints=np.zeros((count, joints, 2), dtype=np.float32),
        visible=np.zeros((count, joints), dtype=np.uint8),
        source=truth.source,
        boxes=found.boxes,
        box_scores=found.scores,
        ignore=truth.ignore,
        ignore_areas=truth.ignore_areas,
        ignore_crowds=truth.ignore_crowds,
        crowd_index=truth.crowd_index,
        truth=truth,
    )


@SOURCES.register_module()
class CocoSource(CocoFormatSource):
    """COCO 2017, 17 joints: `half` is 'train' or 'val'."""

    name = 'coco'
    how = "Get '2017 Train images', '2017 Val images' and '2017 Train/Val annotations' of COCO, and unpack them"
    halves = {half: (f'annotations/person_keypoints_{half}2017.json', f'{half}2017') for half in ('train', 'val')}
    form = CocoFormat(COCO, 'coco')
