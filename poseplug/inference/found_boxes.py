"""A detector's boxes of a data set's pictures, as the result file in COCO's layout that sources read as `boxes`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poseplug.build import need
from poseplug.datasets.sources.boxes import Found
from poseplug.datasets.sources.coco import CocoFormatSource
from poseplug.engine.checkpoint import write_whole
from poseplug.errors import AnnotationError, ConfigError
from poseplug.inference.folders import ENDINGS
from poseplug.progress import track
from poseplug.registry import SOURCES

PERSON = 1  # COCO's category_id


def of_config(cfg: Mapping[str, Any], split: str) -> dict[int, Path]:
    """The pictures of a split by their number, also those where nobody is annotated."""
    specs = need(cfg, f'{split}_dataloader')['dataset']['sources']
    found: dict[int, Path] = {}
    for spec in specs if isinstance(specs, Sequence) else [specs]:
        source = SOURCES.build(spec)
        if isinstance(source, CocoFormatSource):
            source.boxes, source.form = None, replace(source.form, empty=True)
        take(found, ((record.id, record.path) for record in source.load()[0]))
    return found


def of_folder(folder: Path) -> dict[int, Path]:
    """The pictures in a folder by the number that is their name, as COCO's are."""
    found: dict[int, Path] = {}
    try:
        take(found, ((f.stem, f) for f in sorted(folder.iterdir()) if f.suffix.lower() in ENDINGS))
    except OSError as error:
        raise AnnotationError(f'{folder}: {error.strerror or error}; name a config, or a folder of pictures') from None
    if not found:
        raise AnnotationError(f'{folder} holds no picture ({", ".join(ENDINGS)})')
    return found


def take(found: dict[int, Path], pictures: Iterable[tuple[str, Path]]) -> None:
    """Add pictures by their id, which is a number and that of no other picture."""
    for name, path in pictures:
        if not name.isdecimal():
            raise AnnotationError(
                f"{path} has the id {name!r}, but in a file in COCO's layout a picture is a number; for other "
                f'pictures use the detector itself: tools/predict.py --detector'
            )
        if found.setdefault(int(name), path) != path:
            raise AnnotationError(f'{path} and {found[int(name)]} have the same number; give them files of their own')


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


def write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write result records, or an error that names the file."""
    try:
        write_whole(out, json.dumps(rows).encode())
    except OSError as error:
        raise ConfigError(f'{out}: {error.strerror or error}; name another file for --out') from error
