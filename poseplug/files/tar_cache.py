"""Tar files at addresses in a local cache of bounded size, fetched whole and once for all processes of a machine."""

from __future__ import annotations

__all__ = ['fetch_tar']

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from poseplug.files.atomic import write_atomically
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.file_lock import lock_file
from poseplug.files.remote_files import fetch_remote_file, read_remote_version
from poseplug.files.shard_cache import bound_cache, create_cache_error

_MAX_CACHE_BYTES = 100 << 30  # as of a data set of shards


def fetch_tar(address: str, is_new: bool = False) -> Path:
    """Fetch a tar file at an address, unless it is in the cache.

    Args:
        address: of the file; that of a file system which fsspec knows.
        is_new: whether a copy is compared with what the store says of its file now, and replaced if that changed. A
            store that says nothing is read again.

    Returns:
        Path of the copy, which another process may delete to make room for others.

    Raises:
        ImageError: it cannot be fetched.
        ConfigError: the cache cannot be written, or the file system of the address is not installed.
    """
    folder = get_cache_folder() / 'tars'
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    file = folder / f'{digest}-{address.rpartition("/")[2][-80:]}'
    if file.is_file() and not is_new:
        return file
    version = read_remote_version(address, {})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock_file(folder / f'.{file.name}.locked'):
            if file.is_file() and not is_new:  # another process has fetched it meanwhile
                return file
            version_file = file.with_name(f'.{file.name}.json')
            if not _is_current(file, version_file, version):
                size = version.get('size')
                num_bytes = None if size is None else int(size)
                with bound_cache(file, _MAX_CACHE_BYTES, num_bytes or 0):
                    fetch_remote_file(address, file, {}, num_bytes)
                write_atomically(version_file, json.dumps(version).encode())
    except OSError as error:
        raise create_cache_error(folder, error) from error
    return file


def _is_current(file: Path, version_file: Path, version: dict[str, str]) -> bool:
    """Whether a copy is that of a version, which the size alone does not tell."""
    with suppress(OSError, ValueError):
        return file.is_file() and len(version) > 1 and json.loads(version_file.read_bytes()) == version
    return False
