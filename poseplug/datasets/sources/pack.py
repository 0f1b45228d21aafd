"""A pack: the crops of a training set in a few large files, cut as large and as fine as one pipeline needs them.

A folder with `pack.json` (what it is, and the sizes and the checksum of the other files), `people.json` (one list a
column, one entry a crop) and `crops-00000.bin`, ... (JPEG files, one behind the other). Plain numbers and text alone.
`tools/dataset.py pack` writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.datasets.images import Span
from poseplug.datasets.sources.base import Report, Source
from poseplug.datasets.sources.boxes import has_extent
from poseplug.datasets.sources.json_file import LARGEST, Rows, flattened, read_json
from poseplug.errors import AnnotationError, ConfigError
from poseplug.registry import SOURCES
from poseplug.sample import Record
from poseplug.skeleton import get_skeleton

FORMAT, VERSION = 'poseplug pack', 1
HEAD, PEOPLE = 'pack.json', 'people.json'
SPANS = ('file', 'first', 'length', 'crc32')  # where a crop lies, and the checksum of its bytes
# Columns that a set may lack, and how many numbers one person has there; 0: a single one
NUMBERS = dict(boxes=4, areas=0, centers=2, scales=0, heads=0, numbers=0)
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
        try:
            self.skeleton = get_skeleton(str(self.head['skeleton']))
        except ConfigError as error:
            raise AnnotationError(f'{self.root / HEAD}: {error}') from error
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
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise AnnotationError(f'{file} is damaged: {type(error).__name__} {error}. {ANEW}') from None
        for name, size in sizes.items():
            if re.fullmatch(r'[\w.-]{1,99}', name) is None or name.startswith('.'):
                raise AnnotationError(f'{file}: {name!r} is no name of a file beside it. {ANEW}')
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
        records = list(self._records(rows_of(file, parsed(file, data))))
        made_of = f'crops of {self.head["made_of"]}' if self.head.get('made_of') else 'crops'
        return records, Report(file, kept=len(records), notes=[made_of])

    def _records(self, rows: Rows) -> Iterator[Record]:
        """The person of every crop; a column that their set lacks is None."""
        names, sources, ids = (rows.texts(key, 'a text') for key in ('file', 'sources', 'ids'))
        for i, name in enumerate(names):
            if name not in self.head['files']:
                raise rows.wrong(i, 'file', f'one of the files of {HEAD}')
        spans = np.stack([rows.wholes(key) for key in SPANS[1:]], axis=1)
        if (spans < 0).any():
            i, j = np.argwhere(spans < 0)[0]
            raise rows.wrong(int(i), SPANS[1 + j], '0 or more')
        points, visible = joints_of(rows, len(self.skeleton))
        given = {name: columns(rows, name, width) for name, width in NUMBERS.items()}
        for i in range(len(rows)):
            found: dict[str, Any] = {n: values[i : i + 1] if there[i] else None for n, (values, there) in given.items()}
            yield Record(
                path=self.root / names[i],
                span=Span(*map(int, spans[i])),
                id=ids[i],
                keypoints=points[i : i + 1],
                visible=visible[i : i + 1],
                source=sources[i],
                **found,
            )


def parsed(file: Path, data: bytes) -> dict[str, list[Any]]:
    """The columns of a pack's people: lists of one length."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{file} is not a readable JSON file ({error}). {ANEW}') from error
    wanted = {*SPANS, *NUMBERS, 'ids', 'sources', 'keypoints', 'visible'}
    if content == {}:  # of nobody
        return {name: [] for name in wanted}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in wanted):
        raise AnnotationError(f'{file}: a pack has the columns {", ".join(sorted(wanted))}. {ANEW}')
    lengths = {name: len(content[name]) for name in sorted(wanted)}
    if len(set(lengths.values())) > 1:
        raise AnnotationError(f'{file}: its columns are not of one length: {lengths}. {ANEW}')
    return {name: content[name] for name in wanted}


def rows_of(file: Path, content: dict[str, list[Any]]) -> Rows:
    """One object a crop, without what is None."""
    people = [
        {name: value for name, value in zip(content, values, strict=True) if value is not None}
        for values in zip(*content.values(), strict=True)
    ]
    return Rows(file, 'crop', people, known_by='ids')


def joints_of(rows: Rows, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, K, 2) and visibility (N, K) of every crop."""
    flat = [{**row, 'keypoints': flattened(row.get('keypoints'))} for row in rows.items]
    wanted = f'{2 * count} finite numbers, x and y of {count} joints'
    points = replace(rows, items=flat).lists('keypoints', 2 * count, wanted)
    flags = rows.lists('visible', count, f'{count} flags, one a joint')
    wrong = ~np.isin(flags, (0, 1, 2)).all(axis=1)
    if wrong.any():
        raise rows.wrong(int(np.argmax(wrong)), 'visible', f'{count} flags of 0, 1 or 2')
    return points.reshape(-1, count, 2).astype(np.float32), flags.astype(np.uint8)


def columns(rows: Rows, name: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, width) or, with a width of 0, (N,) numbers of a column, and (N,) which crops have them."""
    there = rows.has(name)
    if name == 'numbers':
        return rows.wholes(name, default=0), there
    if width:
        values = rows.lists(name, width, f'{width} finite numbers', [0.0] * width)
        flat = there & ~has_extent(values) if name == 'boxes' else np.zeros(len(rows), dtype=bool)
        if flat.any():
            raise rows.wrong(int(np.argmax(flat)), name, 'two corners, the second right of and below the first')
        return values, there
    return rows.numbers(name, 'a finite number', default=0.0, most=LARGEST**2), there
