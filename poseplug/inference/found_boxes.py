"""A detector's boxes of a data set's pictures, as the result file in COCO's layout that sources read as `boxes`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.build import need
from poseplug.datasets.sources.boxes import Found, corners
from poseplug.datasets.sources.coco import CocoFormatSource
from poseplug.engine.checkpoint import write_whole
from poseplug.errors import AnnotationError, ConfigError
from poseplug.grouping.nms import box_areas, box_iou
from poseplug.inference.folders import ENDINGS
from poseplug.progress import track
from poseplug.registry import SOURCES
from poseplug.sample import AREA_OF_BOX, Record

PERSON = 1  # COCO's category_id
LIKE = 0.5  # least IoU of a box with an annotated one that it finds
LARGE = 5_000  # px² of people whose number is told for themselves


def of_config(cfg: Mapping[str, Any], split: str) -> list[Record]:
    """The annotated pictures of a split, also those where nobody is annotated."""
    specs = need(cfg, f'{split}_dataloader')['dataset']['sources']
    found: list[Record] = []
    for spec in specs if isinstance(specs, Sequence) else [specs]:
        source = SOURCES.build(spec)
        if isinstance(source, CocoFormatSource):
            source.boxes, source.form = None, replace(source.form, empty=True)
        found += source.load()[0]
    return found


def of_folder(folder: Path) -> dict[int, Path]:
    """The pictures in a folder by the number that is their name, as COCO's are."""
    try:
        found = numbered((f.stem, f) for f in sorted(folder.iterdir()) if f.suffix.lower() in ENDINGS)
    except OSError as error:
        raise AnnotationError(f'{folder}: {error.strerror or error}; name a config, or a folder of pictures') from None
    if not found:
        raise AnnotationError(f'{folder} holds no picture ({", ".join(ENDINGS)})')
    return found


def numbered(pictures: Iterable[tuple[str, Path]]) -> dict[int, Path]:
    """Pictures by their id, which is a number and that of no other picture."""
    found: dict[int, Path] = {}
    for name, path in pictures:
        if not name.isdecimal():
            raise AnnotationError(
                f"{path} has the id {name!r}, but in a file in COCO's layout a picture is a number; for other "
                f'pictures use the detector itself: tools/predict.py --detector'
            )
        if found.setdefault(int(name), path) != path:
            raise AnnotationError(f'{path} and {found[int(name)]} have the same number; give them files of their own')
    return found


def detect(pictures: Mapping[int, Path], detector: Any) -> list[dict[str, Any]]:
    """Result records (image_id, category_id, bbox as x, y, width, height, score) of everybody who is found."""
    rows: list[dict[str, Any]] = []
    for number in track(sorted(pictures), 'detecting', unit='picture'):
        (found,) = detector([pictures[number]])
        rows += records(number, found)
    return rows


def records(number: int, found: Found) -> list[dict[str, Any]]:
    """The result records of one picture."""
    return [
        {
            'image_id': number,
            'category_id': PERSON,
            'bbox': [round(float(v), 2) for v in (x, y, right - x, bottom - y)],
            'score': round(float(score), 5),
        }
        for (x, y, right, bottom), score in zip(found.boxes, found.scores, strict=True)
    ]


def recall(pictures: Iterable[Record], rows: Iterable[Mapping[str, Any]]) -> str:
    """How many of the annotated people have a box of an IoU of `LIKE` or more for themselves, in words."""
    found = defaultdict(list)
    for row in rows:
        found[row['image_id']].append(row['bbox'])
    large, again = [np.zeros(0, bool)], [np.zeros(0, bool)]
    for record in pictures:
        boxes = record.whereabouts()
        areas = AREA_OF_BOX * box_areas(boxes) if record.areas is None else record.areas
        large.append(areas > LARGE)
        again.append(matched(boxes, corners(np.reshape(found[int(record.id)], (-1, 4)), 'xywh')))
    everybody = np.concatenate(again)
    some = everybody[np.concatenate(large)]
    return (
        f'annotated people with a box of an IoU of {LIKE}: {everybody.sum():,} of {len(everybody):,}, '
        f'{some.sum():,} of {len(some):,} above {LARGE:,} px²'
    )


def matched(boxes: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(N,) which of boxes (N, 4) have one of found (M, 4) of an IoU of `LIKE` or more for themselves."""
    like = box_iou(boxes, found) >= LIKE
    own, theirs = linear_sum_assignment(like, maximize=True)
    again = np.zeros(len(boxes), bool)
    again[own] = like[own, theirs]
    return again


def write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write result records, or an error that names the file."""
    try:
        write_whole(out, json.dumps(rows).encode())
    except OSError as error:
        raise ConfigError(f'{out}: {error.strerror or error}; name another file for --out') from error
