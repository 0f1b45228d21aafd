"""A pack: the crops of a training set in a few large files, cut as large and as fine as one pipeline needs them.

A folder with `pack.json` (what it is, and the sizes and the checksum of the other files), `people.json` (one list a
column, one entry a crop) and `crops-00000.bin`, ... (JPEG files, one behind the other). Plain numbers and text alone.
`tools/dataset.py pack` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.datasets.images import Span
from poseplug.datasets.sources.base import Report, Source
from poseplug.datasets.sources.json_file import read_json
from poseplug.errors import AnnotationError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeleton import get_skeleton

FORMAT, VERSION = 'poseplug pack', 1
HEAD, PEOPLE = 'pack.json', 'people.json'
SPANS = ('file', 'first', 'length', 'crc32')  # where a crop lies, and the checksum of its bytes
NUMBERS = ('boxes', 'areas', 'centers', 'scales', 'heads', 'numbers')  # columns that a set may lack
ANEW = 'Write the pack anew with tools/dataset.py pack'


@SOURCES.register_module()
class PackedSource(Source):
    """The people of a pack in the folder `root`, each the only one of its crop, in pixels of that crop.

    A pack with a file that is missing, shorter or changed is refused; the bytes of a crop are checked when it is read.
    """

    name = 'pack'

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.head = self._head()
        self.skeleton = get_skeleton(self.head['skeleton'])
        if list(self.skeleton.joints) != self.head['joints']:
            raise AnnotationError(
                f'{self.root / HEAD}: the skeleton {self.head["skeleton"]!r} has other joints now. {ANEW}'
            )

    def _head(self) -> dict[str, Any]:
        """What `pack.json` says, once the files that it names are there in full."""
        file = self.root / HEAD
        head = read_json(file)
        kind = (head.get('format'), head.get('version')) if isinstance(head, dict) else None
        if kind != (FORMAT, VERSION):
            raise AnnotationError(f'{file}: a pack says format {FORMAT!r}, version {VERSION}; found {kind}. {ANEW}')
        try:
            sizes = {str(name): int(size) for name, size in head['files'].items()}
            str(head['skeleton']), list(head['joints']), str(head['sha256'])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise AnnotationError(f'{file} is damaged: {type(error).__name__} {error}. {ANEW}') from None
        for name, size in sizes.items():
            self._check_size(self.root / name, size)
        return head

    def _check_size(self, file: Path, size: int) -> None:
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            there = 'is missing' if found is None else f'has {found:,} bytes'
            raise AnnotationError(f'{file} {there}, and {HEAD} says {size:,} bytes. {ANEW}')

    def load(self) -> tuple[list[Record], Report]:
        file = self.root / PEOPLE
        try:
            data = file.read_bytes()
        except OSError as error:
            raise AnnotationError(f'{file}: {error.strerror or error}. {ANEW}') from error
        if hashlib.sha256(data).hexdigest() != self.head['sha256']:
            raise AnnotationError(f'{file} is not the one that {HEAD} was written with: its checksum differs. {ANEW}')
        columns = json.loads(data)
        records = [self._record(columns, i) for i in range(len(columns['ids']))]
        made_of = f'crops of {self.head["made_of"]}' if self.head.get('made_of') else 'crops'
        return records, Report(file, kept=len(records), notes=[made_of])

    def _record(self, columns: Mapping[str, Any], i: int) -> Record:
        """The person of crop i; a column that its set lacks is None."""
        file, *span = (columns[name][i] for name in SPANS)
        given = {name: columns[name][i] for name in NUMBERS}
        found: dict[str, Any] = {name: None if v is None else np.array([v]) for name, v in given.items()}
        return Record(
            path=self.root / file,
            span=Span(*span),
            id=columns['ids'][i],
            keypoints=np.array(columns['keypoints'][i], np.float32)[None],
            visible=np.array(columns['visible'][i], np.uint8)[None],
            source=columns['sources'][i],
            **found,
        )
