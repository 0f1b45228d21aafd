"""Shards of a remote folder in a local cache of bounded size, fetched whole when one of their images is read.

The cache's folder holds `origin.json`, which says where its files come from and how large they are and with which
checksum. So any process, such as a worker of a loader, restores a file that is not there.
"""

from __future__ import annotations

__all__ = ['ShardCache', 'is_remote_address', 'restore_shard']

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.files.atomic import write_atomically
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.file_lock import lock_file

_ORIGIN_FILE = 'origin.json'
_NUM_TRIES = 5
_FIRST_WAIT_S = 0.2  # doubled after each failed try
_CHUNK_BYTES = 1 << 20
_NETWORK_ERRORS = (OSError, ValueError, EOFError)  # of a content that is not whole, too

_ResultT = TypeVar('_ResultT')


def is_remote_address(text: str) -> bool:
    """Return whether a text is an address of a file system, as in 's3://bucket/folder'.

    Example:
        >>> is_remote_address('s3://bucket/people'), is_remote_address('data/people')
        (True, False)
    """
    return re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+://', text) is not None


class ShardCache:
    """The local copy of a remote folder of shards.

    Args:
        address: of the folder.
        folder: of the copy; None for one in the folder for downloads.
        max_bytes: of all shards of the copy.
        storage_options: of the file system.

    Attributes:
        folder: of the copy.

    Raises:
        ConfigError: the file system is not installed.
    """

    def __init__(
        self,
        address: str,
        folder: str | Path | None,
        max_bytes: int,
        storage_options: Mapping[str, Any] | None = None,
    ):
        self.address = address.rstrip('/')
        digest = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        self.folder = Path(folder) if folder is not None else get_cache_folder() / 'shards' / digest
        self.max_bytes, self.storage_options = max_bytes, dict(storage_options or {})
        _open_file_system(self.address, self.storage_options)  # errors now, not in a worker

    def read_small_file(self, name: str, check_content: Callable[[bytes], Any]) -> bytes:
        """Read a file of the remote folder at once.

        Args:
            name: of the file.
            check_content: raises a ValueError for a content that is not whole, which is then read again.

        Raises:
            AnnotationError: it cannot be read.
        """

        def read_checked() -> bytes:
            data = _read_remote(self.address, name, self.storage_options)
            check_content(data)
            return data

        return _retry_action(read_checked, f'{self.address}/{name}')

    def register_files(self, files: Mapping[str, tuple[int, str]]) -> None:
        """Write where the files come from, so that `restore_shard` can fetch them.

        Files of the cache that were fetched before the address got other ones are deleted.

        Args:
            files: size in bytes and SHA-256 by name.

        Raises:
            ConfigError: the folder cannot be written.
        """
        origin = dict(
            address=self.address,
            max_bytes=self.max_bytes,
            storage_options=self.storage_options,
            files={name: list(values) for name, values in files.items()},
        )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in self._list_changed_files(files):
                (self.folder / name).unlink(missing_ok=True)
            write_atomically(self.folder / _ORIGIN_FILE, json.dumps(origin).encode())
            (self.folder / _ORIGIN_FILE).chmod(0o600)  # storage_options may hold credentials
        except (OSError, TypeError) as error:
            raise ConfigError(f'{self.folder}: the cache cannot be written ({error}); name another one') from error

    def _list_changed_files(self, files: Mapping[str, tuple[int, str]]) -> list[str]:
        """Names of the files that had another content when the cache was opened before."""
        try:
            before = json.loads((self.folder / _ORIGIN_FILE).read_bytes())['files']
            return [name for name, values in before.items() if list(files.get(name, values)) != values]
        except (OSError, ValueError, KeyError):  # a new cache, or an origin that was cut
            return []


def restore_shard(path: Path) -> bool:
    """Fetch a file of a cache that is not there.

    Args:
        path: of the file in the cache.

    Returns:
        Whether it is there now; False for a file that is in no cache.

    Raises:
        ImageError: it cannot be fetched, or is another one.
    """
    origin_file = path.parent / _ORIGIN_FILE
    if not origin_file.is_file():
        return False
    origin = json.loads(origin_file.read_text())
    if path.name not in origin['files']:
        return False
    with lock_file(path.parent / f'.{path.name}.locked'):  # the workers of a loader need a shard at the same time
        # Asked again under the lock: another worker may have fetched it meanwhile.
        if not path.is_file():
            try:
                _retry_action(lambda: _fetch_shard(origin, path), f'{origin["address"]}/{path.name}')
            except AnnotationError as error:
                raise ImageError(str(error)) from error
            _delete_oldest(path, origin)
    return True


def _retry_action(action: Callable[[], _ResultT], description: str) -> _ResultT:
    """Try again after errors of a network, with growing pauses."""
    for number in range(1, _NUM_TRIES):
        try:
            return action()
        except _NETWORK_ERRORS as error:
            logging.getLogger('poseplug').warning('%s: %s; trying again', description, error)
            time.sleep(_FIRST_WAIT_S * 2 ** (number - 1))
    try:
        return action()
    except _NETWORK_ERRORS as error:
        raise AnnotationError(f'{description}: {error} (tried {_NUM_TRIES} times)') from error


def _open_file_system(address: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        import fsspec  # type: ignore[import-untyped]

        file_system, path = fsspec.core.url_to_fs(address, **storage_options)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{address}: {error}; pip install 'poseplug[shards]' or the package it names") from error
    return file_system, path


def _read_remote(address: str, name: str, storage_options: Mapping[str, Any]) -> bytes:
    file_system, path = _open_file_system(address, storage_options)
    data: bytes = file_system.cat_file(f'{path}/{name}')
    return data


def _fetch_shard(origin: Mapping[str, Any], path: Path) -> None:
    """Fetch a shard; it gets its name when its size and checksum are right."""
    num_bytes, sha256 = origin['files'][path.name]
    file_system, remote = _open_file_system(origin['address'], origin['storage_options'])
    handle, partial = tempfile.mkstemp(prefix='.fetch-', suffix='.partial', dir=path.parent)
    try:
        digest, count = hashlib.sha256(), 0
        with os.fdopen(handle, 'wb') as target, file_system.open(f'{remote}/{path.name}', 'rb') as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                count += len(chunk)
                target.write(chunk)
        if (count, digest.hexdigest()) != (num_bytes, sha256):
            raise ValueError(f'{count:,} bytes that are not the {num_bytes:,} that were written')
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _delete_oldest(fetched: Path, origin: Mapping[str, Any]) -> None:
    """Delete the shards that were fetched first until the cache has its size again."""
    # Never the shard that was just fetched, even if it alone is larger than the cache.
    files = [(file.stat().st_mtime, file) for file in fetched.parent.glob('*.tar') if file != fetched]
    total = fetched.stat().st_size + sum(file.stat().st_size for _, file in files)
    for _, file in sorted(files):
        if total <= origin['max_bytes']:
            return
        total -= file.stat().st_size
        file.unlink(missing_ok=True)
