"""Reads the WebDataset shards that `poseplug dataset pack --to webdataset` writes, from a folder or over a network."""

from __future__ import annotations

__all__ = ['ShardSource']

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.core.sample import Record
from poseplug.data.shard_index import (
    INDEX_FILES,
    INFO_FILE,
    REWRITE_HINT,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardIndex,
)
from poseplug.data.sources.base import Source, SourceReport
from poseplug.files.json_file import parse_json
from poseplug.files.remote_files import is_remote_address
from poseplug.files.shard_cache import ShardCache, restore_shard
from poseplug.registry import SOURCES
from poseplug.registry.skeletons import get_skeleton

_GIBIBYTE = 1 << 30
_FOREIGN_SHARDS = (
    f'tar files without {INFO_FILE}, which other programs write; training needs annotations that poseplug reads: '
    f'unpack them, read them by the source of their format, and write shards with poseplug dataset pack --to webdataset'
)


@SOURCES.register_module()
class ShardSource(Source):
    """Images and annotations in WebDataset shards.

    Annotations are read from the index, and images from the shards, when a sample needs them: a set of millions of
    images is opened as fast as a small one. Samples, and their order, are those of the files that the shards were
    written from. Shards of an address are fetched when their first image is read, checked by their SHA-256, and stay in
    a cache of bounded size.

    Args:
        data_root: the folder of the shards, or its address: `https://...`, `s3://...`, `gs://...`, or any other that
            fsspec knows.
        missing_shards: 'error' refuses a folder in which a shard is missing or has another size, 'drop' leaves its
            images out and counts them. Shards of an address are checked when they are fetched.
        cache_folder: of shards from an address; None for one in the folder for downloads.
        max_cache_gib: those that were fetched first are deleted when the cache becomes larger.
        storage_options: passed to the file system of the address, as for credentials.

    Raises:
        AnnotationError: the description or the index is missing or damaged, or a shard is.
        ConfigError: the file system of the address is not installed, or a setting is out of range.
    """

    name = 'shards'

    def __init__(
        self,
        data_root: str | Path,
        missing_shards: Literal['error', 'drop'] = 'error',
        cache_folder: str | Path | None = None,
        max_cache_gib: float = 100.0,
        storage_options: dict[str, Any] | None = None,
    ):
        if missing_shards not in ('error', 'drop'):
            raise ConfigError(f"ShardSource: missing_shards is 'error' or 'drop'; got {missing_shards!r}")
        if not max_cache_gib > 0:
            raise ConfigError(f'ShardSource: max_cache_gib is positive; got {max_cache_gib}')
        self.missing_shards, self.cache = missing_shards, None
        if is_remote_address(str(data_root)):
            self.cache = ShardCache(str(data_root), cache_folder, int(max_cache_gib * _GIBIBYTE), storage_options)
        self.folder = Path(data_root) if self.cache is None else self.cache.folder
        self.info = self._read_info()
        try:
            self.skeleton = get_skeleton(self.info['skeleton'])
        except ConfigError as error:
            raise AnnotationError(f'{self.folder / INFO_FILE}: {error}. {REWRITE_HINT}') from error

    def load(self) -> tuple[Sequence[Record], SourceReport]:
        stated = {each['name']: each for each in self.info['index']}
        # A few bytes per image are read and checked now, all else when an image is asked for.
        name = INDEX_FILES[0]
        content = self._read_file(name, partial(_check_sha256, sha256=stated[name]['sha256']))
        for name in INDEX_FILES[1:]:
            self._check_index_file(self.folder / name, stated[name]['bytes'])
        report = SourceReport(self.folder / INFO_FILE)
        absent = self._find_absent_shards()
        index = ShardIndex(self.folder, content, [self.folder / shard['name'] for shard in self.info['shards']])
        records = index.list_records()
        is_absent = np.array([file.name in absent for file in records.files], dtype=bool)[records.file_numbers]
        present, dropped = records.select(np.flatnonzero(~is_absent)), records.select(np.flatnonzero(is_absent))
        report.kept = int(present.num_instances.sum())
        if len(dropped):
            report.dropped['in shards that are missing or cut'] += int(dropped.num_instances.sum())
            # Counted by shard, because a shard is what can be fetched again.
            counts = np.bincount(dropped.file_numbers, minlength=len(records.files)).tolist()
            names = [(file.name, count) for file, count in zip(records.files, counts, strict=True) if count]
            listed = ', '.join(f'{name} ({count:,} images, {absent[name]})' for name, count in names)
            report.notes.append(f'left out: {listed}')
        return present, report

    def _check_index_file(self, file: Path, num_bytes: int) -> None:
        """Check the size of a file that is read by parts; one of an address is fetched into the cache."""
        try:
            if self.cache is not None and not file.is_file():
                restore_shard(file)
            size = file.stat().st_size
        except ImageError as error:
            raise AnnotationError(str(error)) from error
        except OSError as error:
            cause = error.strerror or error
            raise AnnotationError(f'{file}: {cause}. {REWRITE_HINT}') from error
        if size != num_bytes:
            raise AnnotationError(f'{file} is damaged: {size:,} of {num_bytes:,} bytes. {REWRITE_HINT}')

    def _read_file(self, name: str, check_content: Callable[[bytes], Any]) -> bytes:
        """The content of a small file beside the shards, which is whole by a check that raises a ValueError."""
        if self.cache is not None:
            return self.cache.read_small_file(name, check_content)
        try:
            data = (self.folder / name).read_bytes()
            check_content(data)
        except OSError as error:
            if name == INFO_FILE and any(self.folder.glob('*.tar')):
                raise AnnotationError(f'{self.folder}: {_FOREIGN_SHARDS}') from error
            cause = error.strerror or error
            raise AnnotationError(f'{self.folder / name}: {cause}. {REWRITE_HINT}') from error
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f'{self.folder / name} is damaged: {error}. {REWRITE_HINT}') from error
        return data

    def _read_info(self) -> dict[str, Any]:
        """The description, with names that do not lead out of the folder."""
        file = self.folder / INFO_FILE
        info = parse_json(self._read_file(INFO_FILE, parse_json))
        identity = (info.get('format'), info.get('version')) if isinstance(info, dict) else None
        if identity != (SHARD_FORMAT, SHARD_VERSION):
            raise AnnotationError(
                f'{file}: shards have format {SHARD_FORMAT!r}, version {SHARD_VERSION}; found {identity}. '
                f'{REWRITE_HINT}'
            )
        try:
            files = [*info['index'], *info['shards']]
            missing = set(INDEX_FILES) - {each['name'] for each in info['index']}
            # A name with a separator or dots in front could lead out of the folder.
            valid = all(re.fullmatch(r'\w[\w.-]{0,98}', str(each['name'])) for each in files)
            sizes = {str(each['name']): (int(each['bytes']), str(each['sha256'])) for each in files}
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f'{file} is damaged: {type(error).__name__} {error}. {REWRITE_HINT}') from error
        if missing or not valid or not isinstance(info.get('skeleton'), dict):
            causes = 'it lacks a skeleton or a file of the index, or names a file elsewhere'
            raise AnnotationError(f'{file} is damaged: {causes}. {REWRITE_HINT}')
        if self.cache is not None:
            # Before any image is read: workers find in the cache what to fetch and how to check it.
            self.cache.register_files(sizes)
        return info

    def _find_absent_shards(self) -> dict[str, str]:
        """What is wrong with shards of a folder, by name; refused where the settings say so."""
        if self.cache is not None:
            return {}
        absent = {}
        for shard in self.info['shards']:
            file = self.folder / shard['name']
            size = file.stat().st_size if file.is_file() else None
            # By size alone: hashing all shards would read the whole data set before the first step.
            if size != shard['bytes']:
                absent[file.name] = 'missing' if size is None else f'{size:,} of {shard["bytes"]:,} bytes'
        if absent and self.missing_shards == 'error':
            listed = ', '.join(f'{name} ({state})' for name, state in absent.items())
            raise AnnotationError(
                f"{self.folder}: shards are not whole: {listed}. Fetch them again, or set missing_shards='drop'"
            )
        return absent


def _check_sha256(data: bytes, sha256: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f'it is not the file that {INFO_FILE} was written with')
