"""Packing a training set: every person's crop, as large and as fine as its pipeline can ask for, into large files."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.images import Picture
from poseplug.datasets.sources.pack import FORMAT, HEAD, NUMBERS, PEOPLE, SPANS, VERSION
from poseplug.datasets.transforms.base import Transform
from poseplug.datasets.transforms.placing import PlaceBox, PlaceByScale
from poseplug.datasets.transforms.warp import how_reduced, whole_from_reduced
from poseplug.errors import ConfigError
from poseplug.geometry import Size, apply, enlargement, middle, scaling, translation
from poseplug.progress import track
from poseplug.sample import Draw, Sample
from poseplug.skeleton import get_skeleton

FILE = 1 << 30  # bytes after which the next file of crops begins
DIGITS = 3  # of positions, px
PLACINGS = (PlaceBox, PlaceByScale)  # which put a person alike in the picture and in a part of it


def pack(dataset: PoseDataset, size: Size, out: Path, quality: int = 95, detail: float = 1.0) -> Path:
    """Write the people of a data set, whose inputs have that `size`, as a pack into the new folder `out`.

    A crop holds all that the pipeline's random changes can bring into the input, at the picture's resolution or at
    `detail` times the one that the input has before these changes, whichever is less. `quality` is JPEG's, 0 to 100.
    """
    if not 1 <= quality <= 100 or not detail > 0:
        raise ConfigError(f'pack: quality is 1 to 100 and detail positive; got {quality} and {detail}')
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ConfigError(f'pack: {out} is there already; name another folder, or remove it')
    name = dataset.skeleton.name
    if get_skeleton(name) != dataset.skeleton:
        raise ConfigError(f'pack: a pack names its skeleton, and {name!r} is not a registered one; register it')
    placing, seen = reach(dataset.pipeline, size)
    out.mkdir(parents=True, exist_ok=True)
    writer = Writer(out)
    for i in track(range(len(dataset)), 'packing', len(dataset), unit='person'):
        sample = placing(dataset.raw(Draw(0, i)))
        picture, matrix = crop(sample, seen, size, detail)
        writer.add(cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes(), sample, matrix)
    made = '; '.join(f'{report.file.name} ({report.kept:,} people)' for report in dataset.reports)
    settings = dict(input_size=size, reach=[round(float(n), DIGITS) for n in seen], quality=quality, detail=detail)
    writer.close(dict(skeleton=name, joints=list(dataset.skeleton.joints), made_of=made, **settings))
    return out


def reach(pipeline: list[Transform], size: Size) -> tuple[Transform, np.ndarray]:
    """The transform that places a person, and how far (2,; x and y, input px) from the middle the others can see."""
    placing, *others = pipeline
    if not isinstance(placing, PLACINGS):
        names = ' or '.join(p.__name__ for p in PLACINGS)
        raise ConfigError(
            f'pack: a pipeline that begins with {names} places a person alike in a crop; this one begins with '
            f'{type(placing).__name__}'
        )
    seen = np.array(size) / 2
    for transform in reversed(others):
        seen = transform.sees(seen, size)
    return placing, seen


def crop(sample: Sample, seen: np.ndarray, size: Size, detail: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture around a placed person, and the (3, 3) from image to crop pixels.

    At least `seen` (2,; input px) from the middle of the input on all sides, as far as the picture goes.
    """
    factor = enlargement(sample.matrix)
    center = apply(np.linalg.inv(sample.matrix), np.array(middle(size)))
    last = np.array(sample.size) - 1
    low = np.clip(np.floor(center - seen / factor) - 1, 0, last - 1)
    high = np.clip(np.ceil(center + seen / factor) + 1, low + 1, last)
    scale = min(1.0, detail * factor)
    matrix = scaling(scale) @ translation(-low[0], -low[1])
    width, height = (math.ceil(n * scale) + 1 for n in high - low)
    reduction = how_reduced([matrix]) if isinstance(sample.image, Picture) and sample.image.reducible else 1
    pixels = sample.image.pixels(reduction) if isinstance(sample.image, Picture) else sample.pixels
    moved = (matrix @ whole_from_reduced(reduction))[:2]
    return cv2.warpAffine(pixels, moved, (width, height), borderMode=cv2.BORDER_REPLICATE), matrix


@dataclass
class Writer:
    """Files of crops, and the columns of their people; nothing is a pack before it is closed."""

    folder: Path
    columns: dict[str, list[Any]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)

    def add(self, data: bytes, sample: Sample, matrix: np.ndarray) -> None:
        """A crop's bytes, and its person through the matrix (3, 3) from image to crop pixels."""
        name = next(reversed(self.files), None)
        if name is None or self.files[name] + len(data) > FILE:
            name = f'crops-{len(self.files):05}.bin'
            self.files[name] = 0
        where = dict(zip(SPANS, (name, self.files[name], len(data), zlib.crc32(data)), strict=True))
        with open(self.folder / name, 'ab') as file:
            file.write(data)
        self.files[name] += len(data)
        count = len(self.columns.get('ids', ()))
        person = dict(ids=f'{sample.record.id}:{count}', sources=sample.record.source, **moved(sample, matrix))
        for key, value in {**where, **person}.items():
            self.columns.setdefault(key, []).append(value)

    def close(self, about: Mapping[str, Any]) -> None:
        """Write the people, and then what the pack is."""
        people = json.dumps(self.columns).encode()
        (self.folder / PEOPLE).write_bytes(people)
        sha256 = hashlib.sha256(people).hexdigest()
        files = {**self.files, PEOPLE: len(people)}
        head = dict(format=FORMAT, version=VERSION, **about, files=files, sha256=sha256)
        (self.folder / HEAD).write_text(json.dumps(head, indent=1) + '\n')


def moved(sample: Sample, matrix: np.ndarray) -> dict[str, Any]:
    """The subject of a sample in the crop's pixels, as plain numbers; what its set lacks is None."""
    factor, record = enlargement(matrix), sample.record
    change: dict[str, Callable[[Any], Any]] = {
        'boxes': lambda box: plain(apply(matrix, box.reshape(2, 2)).ravel()),
        'areas': lambda area: float(area * factor**2),
        'centers': lambda point: plain(apply(matrix, point)),
        'scales': lambda scale: float(scale * factor),
        'heads': lambda head: float(head * factor),
        'numbers': int,
    }
    given = {name: getattr(record, name) for name in NUMBERS}
    own = {name: None if given[name] is None else change[name](given[name][0]) for name in NUMBERS}
    visible = sample.visible[0]
    placed = np.where(visible[:, None] > 0, apply(matrix, sample.keypoints[0]), 0)
    return dict(keypoints=plain(placed), visible=visible.tolist(), **own)


def plain(numbers: np.ndarray) -> list[Any]:
    """Positions as lists of rounded numbers."""
    return np.asarray(numbers, float).round(DIGITS).tolist()
