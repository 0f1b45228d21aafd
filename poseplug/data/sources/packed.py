"""Reads a pack: the crops of a training set in a few large files, written by `poseplug dataset pack`.

A pack is a folder with `pack.json` (a description, with the sizes and the checksum of the other files),
`instances.json` (one list per column, with an entry per crop) and `crops-00000.bin`, ... (JPEG files, one after the
other). It contains numbers, text and JPEG files only, nothing that could run.
"""

from __future__ import annotations

__all__ = ['PackedSource']

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.boxes import has_extent
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.instances import NO_STATED_COUNT, Instances
from poseplug.core.location import ByteRange
from poseplug.core.sample import Record
from poseplug.data.sources.base import Source, SourceReport
from poseplug.files.json_file import MAX_COORDINATE_PX, JsonRows, flatten_pairs, read_json
from poseplug.registry import SOURCES
from poseplug.registry.skeletons import get_skeleton

PACK_FORMAT, PACK_VERSION = 'poseplug pack', 2
PACK_INFO_FILE, PACK_INSTANCES_FILE = 'pack.json', 'instances.json'
BYTE_RANGE_COLUMNS = ('file', 'offset', 'length', 'crc32')  # where a crop's bytes are, and their checksum
# Arrays of instances beside their keypoints, and the length of an instance's list there; 0 for a single number. null
# stands for NaN.
INSTANCE_COLUMNS = dict(
    boxes=4, has_box=0, areas=0, has_area=0, centers=2, scales=0, head_sizes=0, annotation_ids=0, box_scores=0
)
_INTEGER_COLUMNS = ('has_box', 'has_area', 'annotation_ids')
_REPACK_HINT = 'Write the pack anew with poseplug dataset pack'


@SOURCES.register_module()
class PackedSource(Source):
    """The instances of a pack, one record per crop, in px of that crop.

    A pack with a missing, shortened or changed file is refused; the bytes of a crop are checked when it is read.

    Args:
        data_root: the folder of the pack.

    Raises:
        AnnotationError: the description is missing or damaged, a file has another size than it says, or the pack's
            skeleton has other keypoints now.
    """

    name = 'pack'

    def __init__(self, data_root: str | Path):
        self.data_root = Path(data_root)
        self.pack_info = self._read_pack_info()
        info_file, skeleton_name = self.data_root / PACK_INFO_FILE, str(self.pack_info['skeleton'])
        try:
            self.skeleton = get_skeleton(skeleton_name)
        except ConfigError as error:
            raise AnnotationError(f'{info_file}: {error}') from error
        # The pack stores columns without names: a skeleton that changed since would give them other meanings.
        if list(self.skeleton.keypoints) != self.pack_info['keypoints']:
            raise AnnotationError(f'{info_file}: skeleton {skeleton_name!r} has other keypoints now. {_REPACK_HINT}')

    def _read_pack_info(self) -> dict[str, Any]:
        """Read the description, and check that the files it names have the sizes it says."""
        file = self.data_root / PACK_INFO_FILE
        info = read_json(file)
        identity = (info.get('format'), info.get('version')) if isinstance(info, dict) else None
        if identity != (PACK_FORMAT, PACK_VERSION):
            raise AnnotationError(
                f'{file}: a pack has format {PACK_FORMAT!r}, version {PACK_VERSION}; found {identity}. {_REPACK_HINT}'
            )
        try:
            sizes = {str(name): int(size) for name, size in info['files'].items()}
            str(info['skeleton']), list(info['keypoints']), str(info['sha256'])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise AnnotationError(f'{file} is damaged: {type(error).__name__} {error}. {_REPACK_HINT}') from None
        for name, size in sizes.items():
            # A pack may come from a stranger: its files must not lead out of its folder.
            if re.fullmatch(r'[\w.-]{1,99}', name) is None or name.startswith('.'):
                raise AnnotationError(f'{file}: {name!r} is no name of a file beside it. {_REPACK_HINT}')
            self._check_file_size(self.data_root / name, size)
        return info

    def _check_file_size(self, file: Path, size: int) -> None:
        actual = file.stat().st_size if file.is_file() else None
        if actual != size:
            state = 'is missing' if actual is None else f'has {actual:,} bytes'
            raise AnnotationError(f'{file} {state}, and {PACK_INFO_FILE} says {size:,} bytes. {_REPACK_HINT}')

    def load(self) -> tuple[list[Record], SourceReport]:
        file = self.data_root / PACK_INSTANCES_FILE
        try:
            data = file.read_bytes()
        except OSError as error:
            cause = error.strerror or error
            raise AnnotationError(f'{file}: {cause}. {_REPACK_HINT}') from error
        if hashlib.sha256(data).hexdigest() != self.pack_info['sha256']:
            raise AnnotationError(
                f'{file} is not the one that {PACK_INFO_FILE} was written with: its checksum differs. {_REPACK_HINT}'
            )
        # The checksum shows damage, not intent: every value is checked as in any other annotation file.
        records = list(self._iter_records(_columns_to_rows(file, _parse_columns(file, data))))
        made_from = self.pack_info.get('made_from')
        note = f'crops of {made_from}' if made_from else 'crops'
        return records, SourceReport(file, kept=len(records), notes=[note])

    def _iter_records(self, rows: JsonRows) -> Iterator[Record]:
        """Yield the record of every crop."""
        names, sources, ids = (rows.read_strings(key, 'a text') for key in ('file', 'sources', 'ids'))
        for i, name in enumerate(names):
            if name not in self.pack_info['files']:
                raise rows.value_error(i, 'file', f'one of the files of {PACK_INFO_FILE}')
        byte_ranges = np.stack([rows.read_integers(key) for key in BYTE_RANGE_COLUMNS[1:]], axis=1)
        if (byte_ranges < 0).any():
            i, j = np.argwhere(byte_ranges < 0)[0]
            raise rows.value_error(int(i), BYTE_RANGE_COLUMNS[1 + j], '0 or more')
        keypoints, visible = _read_keypoints(rows, len(self.skeleton))
        columns = {name: _read_column(rows, name, width) for name, width in INSTANCE_COLUMNS.items()}
        segmentations = np.full(len(rows), None, dtype=object)
        # What a crop does not carry: it is for training one instance, and masks and counts are for whole images.
        filled: dict[str, Any] = dict(segmentations=segmentations, stated_counts=np.full(len(rows), NO_STATED_COUNT))
        instances = Instances(keypoints=keypoints, visible=visible, **filled, **columns)
        # Views of the common arrays, not copies.
        for i in range(len(rows)):
            yield Record(
                path=self.data_root / names[i],
                id=ids[i],
                instances=instances[i : i + 1],
                source=sources[i],
                byte_range=ByteRange(*map(int, byte_ranges[i])),
                is_crop=True,
            )


def _parse_columns(file: Path, data: bytes) -> dict[str, list[Any]]:
    """Parse the columns of a pack's instances; all are lists of one length."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{file} is not a readable JSON file ({error}). {_REPACK_HINT}') from error
    expected = {*BYTE_RANGE_COLUMNS, *INSTANCE_COLUMNS, 'ids', 'sources', 'keypoints', 'visible'}
    if content == {}:  # a pack without instances
        return {name: [] for name in expected}
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in expected):
        raise AnnotationError(f'{file}: a pack has the columns {", ".join(sorted(expected))}. {_REPACK_HINT}')
    lengths = {name: len(content[name]) for name in sorted(expected)}
    if len(set(lengths.values())) > 1:
        raise AnnotationError(f'{file}: its columns are not of one length: {lengths}. {_REPACK_HINT}')
    return {name: content[name] for name in expected}


def _columns_to_rows(file: Path, content: dict[str, list[Any]]) -> JsonRows:
    """Return one object per crop, without the values that are None."""
    items = [
        {name: value for name, value in zip(content, values, strict=True) if value is not None}
        for values in zip(*content.values(), strict=True)
    ]
    return JsonRows(file, 'crop', items, id_key='ids')


def _read_keypoints(rows: JsonRows, num_keypoints: int) -> tuple[np.ndarray, np.ndarray]:
    """Read keypoints (N, K, 2) and visibility (N, K) of every crop."""
    flat = [{**row, 'keypoints': flatten_pairs(row.get('keypoints'))} for row in rows.items]
    expected = f'{2 * num_keypoints} finite numbers, x and y of {num_keypoints} keypoints'
    keypoints = replace(rows, items=flat).read_lists('keypoints', 2 * num_keypoints, expected)
    flags = rows.read_lists('visible', num_keypoints, f'{num_keypoints} flags, one per keypoint')
    wrong = ~np.isin(flags, (0, 1, 2)).all(axis=1)
    if wrong.any():
        raise rows.value_error(int(np.argmax(wrong)), 'visible', f'{num_keypoints} flags of 0, 1 or 2')
    return keypoints.reshape(-1, num_keypoints, 2).astype(np.float32), flags.astype(np.uint8)


def _read_column(rows: JsonRows, name: str, width: int) -> np.ndarray:
    """Read a column as (N, width) numbers, or (N,) for a width of 0; NaN where a crop has none."""
    if name in _INTEGER_COLUMNS:
        values = rows.read_integers(name)
        if name == 'annotation_ids':
            return values
        wrong = (values != 0) & (values != 1)
        if wrong.any():
            raise rows.value_error(int(np.argmax(wrong)), name, '0 or 1')
        return values == 1
    present = rows.has_key(name)
    if not width:
        # Areas are squares of lengths, hence the larger limit.
        values = rows.read_numbers(name, 'a finite number', default=0.0, max_abs=MAX_COORDINATE_PX**2)
        return np.where(present, values, np.nan)
    values = rows.read_lists(name, width, f'{width} finite numbers', [0.0] * width)
    if name == 'boxes':
        # An annotated box has an extent; one that encloses a single keypoint has none.
        empty = (rows.read_integers('has_box') == 1) & ~has_extent(values)
        if empty.any():
            expected = 'two corners, the second to the right of and below the first'
            raise rows.value_error(int(np.argmax(empty)), name, expected)
        return values
    return np.where(present[:, None], values, np.nan)
