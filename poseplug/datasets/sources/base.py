"""The contract of a source: one file format, read into records, with every dropped person counted."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from poseplug.errors import AnnotationError
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

USUAL_PLACES = ('data', '../shared/data')  # below the current folder, and beside it
EMBEDDED = 'the embedded set needs no download: bash demo/quickstart.sh, or tools/dataset.py prepare synthetic'


@dataclass
class Report:
    """What became of a file's people: kept + dropped = total, and every drop has its cause."""

    file: Path
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.kept + sum(self.dropped.values())

    def __str__(self) -> str:
        causes = ', '.join(f'{n} {cause}' for cause, n in sorted(self.dropped.items())) or 'none'
        notes = ''.join(f'; {n}' for n in self.notes)
        return f'{self.file}: {self.kept} of {self.total} people kept; dropped: {causes}{notes}'


class Source(ABC):
    """Reads one annotation format. `skeleton` names its joints; nothing here knows models or codecs."""

    skeleton: Skeleton

    @abstractmethod
    def load(self) -> tuple[list[Record], Report]:
        """Every usable record, and the count of what was kept and dropped."""


def data_roots() -> list[Path]:
    """The folders where data sets are looked for: the environment's POSEPLUG_DATA, or the usual places."""
    named = os.environ.get('POSEPLUG_DATA')
    return [Path(named)] if named else [Path(place) for place in USUAL_PLACES]


def folder_of(root: str | Path | None, name: str, file: str) -> Path:
    """The folder of a data set: its `root` where given, or the first usual place that has its file."""
    places = [Path(root)] if root is not None else [place / name for place in data_roots()]
    return next((place for place in places if (place / file).is_file()), places[0])


def locate(root: str | Path | None, name: str, file: str, how: str) -> Path:
    """The folder of a data set, or an error that says where it was looked for and how to get it.

    `root` is the folder that holds `file`, absolute or below the current one; by default `name` in the data roots.
    """
    folder = folder_of(root, name, file)
    if not (folder / file).is_file():
        places = [folder] if root is not None else [place / name for place in data_roots()]
        looked = ' or '.join(str(place.absolute()) for place in places)
        raise AnnotationError(
            f'{name}: no {file} in {looked}. {how}. Then name its folder: POSEPLUG_DATA=FOLDER_ABOVE_{name} '
            f'in the environment, or the root of the source in the config. Without the data, {EMBEDDED}'
        )
    return folder


def check_images(folder: Path, names: list[str], missing: str, file: Path) -> np.ndarray:
    """Which of the pictures are there, as a mask; one that is not is an error unless `missing` is 'drop'."""
    if missing not in ('error', 'drop'):
        raise AnnotationError(f"{file}: missing is 'error' or 'drop'; got {missing!r}")
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    there = np.array([n in present for n in names], dtype=bool)
    if missing == 'error' and not there.all():
        first = names[int(np.argmin(there))]
        raise AnnotationError(
            f'{file}: image {first} is missing in {folder}; {there.sum():,} of {len(names):,} found. Restore it, or '
            f"pass missing='drop'"
        )
    return there
