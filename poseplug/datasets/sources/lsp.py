"""Leeds Sports Pose and its extended set, from the official `joints.mat` (Johnson & Everingham 2010, 2011).

Both are read as CPM's released code does, as counting pixels from 1; docs/datasets.md tells what was measured. LSP's
flag is 1 for an occluded joint; LSPET's is 1 for a labelled one, and its other joints carry no usable position.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from poseplug.datasets.sources.base import Report, Source, check_images, locate
from poseplug.datasets.sources.json_file import LARGEST
from poseplug.datasets.sources.matlab import read_array
from poseplug.datasets.sources.scale import limb_scales
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeletons.lsp import LSP, LSP_OBSERVER

JOINTS = len(LSP)


@SOURCES.register_module()
class LSPSource(Source):
    """Leeds Sports Pose: pictures already cut around one person, first half for training, second half for testing.

    A `dataset.json` beside the file may say another share; the embedded set has one.

    `half` is 'train', 'test' or 'all'. `labels='observer'` says that the file holds the observer-centric re-labelling;
    without `root` it is looked for in a folder of its own, `lsp_observer` beside `lsp`.
    A missing picture is an error, or a counted drop with `missing='drop'`. `origin` is the file's coordinate of the
    first pixel's centre: 1 as CPM's released code reads it, 0 as was measured on LSP. `called` is the name under which
    decoders, shares and placing rules know the records, where it is not that of the data set.
    """

    name = 'lsp'
    how = "Get 'LSP dataset' of Johnson & Everingham (2,000 pictures and joints.mat), and unpack it"
    images = 'im{:04d}.jpg'

    def __init__(
        self,
        root: str | Path | None = None,
        half: Literal['train', 'test', 'all'] = 'all',
        labels: Literal['person', 'observer'] = 'person',
        missing: Literal['error', 'drop'] = 'error',
        origin: float = 1.0,
        called: str | None = None,
    ):
        if half not in ('train', 'test', 'all'):
            raise AnnotationError(f"{self.name}: half is 'train', 'test' or 'all'; got {half!r}")
        if labels not in ('person', 'observer'):
            raise AnnotationError(f"{self.name}: labels are 'person' or 'observer'; got {labels!r}")
        self.root, self.half, self.missing, self.origin = root, half, missing, origin
        self.skeleton = LSP if labels == 'person' else LSP_OBSERVER
        self.called = called or self.name
        self.folder = self.name if labels == 'person' else f'{self.name}_observer'

    def load(self) -> tuple[list[Record], Report]:
        folder = locate(self.root, self.folder, 'joints.mat', self.how)
        file = folder / 'joints.mat'
        points, flags = split(read_array(file, 'joints'), file)
        train = training_share(folder, len(points))
        places = np.arange(len(points))[{'train': slice(train), 'test': slice(train, None)}.get(self.half, slice(None))]
        there = check_images(folder / 'images', [self.images.format(i + 1) for i in places], self.missing, file)
        report = Report(file)
        report.dropped.update({'with their picture missing': int((~there).sum())} if not there.all() else {})
        visible = self.visibility(flags)
        records = [self._record(folder, i, points[i], visible[i]) for i in places[there]]
        usable = [r for r in records if (r.visible > 0).any()]
        report.dropped.update({'without a labelled joint': n} if (n := len(records) - len(usable)) else {})
        report.kept = len(usable)
        return self.with_scales(usable), report

    def visibility(self, flags: np.ndarray) -> np.ndarray:
        """The file's flags (N, K) as 0 not labelled, 1 occluded, 2 visible. LSP: 1 is occluded."""
        return np.where(flags > 0, 1, 2)

    def with_scales(self, records: list[Record]) -> list[Record]:
        """The records with position (the middle of the picture) and scale as CPM's training code sets them."""
        return limb_scales(records, self.skeleton)

    def _record(self, folder: Path, place: int, points: np.ndarray, visible: np.ndarray) -> Record:
        name = self.images.format(place + 1)
        stated = np.where(visible[:, None] > 0, points, self.origin)
        usable = (np.abs(stated) <= LARGEST).all(axis=1)
        if not usable.all():
            joint = int(np.argmin(usable))
            fault = f'beyond {LARGEST:,.0f} px' if np.isfinite(stated[joint]).all() else 'not a finite number'
            raise AnnotationError(
                f'{folder / "joints.mat"}: record {place + 1} ({name}): joint {self.skeleton.joints[joint]!r} has a '
                f'position that is {fault}; correct the file or take it anew from its archive'
            )
        keypoints = (stated - self.origin).astype(np.float32)
        return Record(folder / 'images' / name, name, keypoints[None], visible[None].astype(np.uint8), self.called)


@SOURCES.register_module()
class LSPETSource(LSPSource):
    """LSP extended: training pictures only, noisier labels; the person stands anywhere in the picture."""

    name = 'lspet'
    how = "Get 'LSP extended training dataset' of Johnson & Everingham (10,000 pictures and joints.mat), and unpack it"
    images = 'im{:05d}.jpg'

    def visibility(self, flags: np.ndarray) -> np.ndarray:
        """LSPET: 1 is labelled; nothing tells visible from occluded."""
        return np.where(flags > 0, 2, 0)

    def with_scales(self, records: list[Record]) -> list[Record]:
        """As for LSP, but the person stands at the middle of the labelled joints' bounding rectangle."""
        placed = [replace(r, centers=labelled_middle(r)[None]) for r in records]
        return limb_scales(placed, self.skeleton)


def training_share(folder: Path, count: int) -> int:
    """How many of the pictures, from the first on, are for training: half, or what `dataset.json` beside them says."""
    file = folder / 'dataset.json'
    if not file.is_file():
        return count // 2
    try:
        train = json.loads(file.read_text())['train']
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        train = None
    if type(train) is not int or not 0 <= train <= count:
        raise AnnotationError(
            f"{file}: 'train' is a number of pictures, 0 to {count}; found {train!r}. Make the set anew"
        )
    return train


def labelled_middle(record: Record) -> np.ndarray:
    """(2,) the middle of the bounding rectangle of the first person's labelled joints."""
    points = record.keypoints[0][record.visible[0] > 0]
    return (points.min(axis=0) + points.max(axis=0)) / 2


def split(joints: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 14, 2) as stored and flags (N, 14) from (3, 14, N), LSP's order, or (14, 3, N), LSPET's."""
    if joints.ndim == 3 and joints.shape[:2] == (3, JOINTS):
        ordered = joints.transpose(2, 1, 0)
    elif joints.ndim == 3 and joints.shape[:2] == (JOINTS, 3):
        ordered = joints.transpose(2, 0, 1)
    else:
        raise AnnotationError(
            f'{file}: joints has shape {joints.shape}, but LSP writes (3, {JOINTS}, pictures) and LSPET ({JOINTS}, 3, '
            f'pictures); this is another file'
        )
    flags = ordered[..., 2]
    wrong = ~np.isin(flags, (0, 1))
    if wrong.any():
        record, joint = np.argwhere(wrong)[0]
        raise AnnotationError(
            f'{file}: record {record + 1}: the third number of joint {LSP.joints[joint]!r} is a flag, 0 or 1; found '
            f'{flags[record, joint]:g}. Correct the file or take it anew from its archive'
        )
    return ordered[..., :2], flags
