"""Shards of a remote folder in a local cache of bounded size, fetched whole when one of their images is read.

The cache's folder holds `origin.json`, which says where its files come from and how large they are and with which
checksum. So any process, such as a worker of a loader, restores a file that is not there.
"""

from __future__ import annotations

__all__ = ['ShardCache', 'bound_cache', 'create_cache_error', 'restore_shard']

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.files.atomic import write_atomically
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.file_lock import lock_file
from poseplug.files.remote_files import check_file_system, fetch_remote_file, read_remote_file

_ORIGIN_FILE = 'origin.json'


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
        check_file_system(self.address, self.storage_options)  # errors now, not in a worker

    def read_small_file(self, name: str, check_content: Callable[[bytes], Any]) -> bytes:
        """Read a file of the remote folder at once.

        Args:
            name: of the file.
            check_content: raises a ValueError for a content that is not whole, which is then read again.

        Raises:
            AnnotationError: it cannot be read.
        """
        try:
            return read_remote_file(f'{self.address}/{name}', self.storage_options, check_content)
        except ImageError as error:
            raise AnnotationError(str(error)) from error

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
            with lock_file(self.folder / f'.{_ORIGIN_FILE}.locked'):  # the processes of a training open it at once
                for name in self._list_changed_files(files):
                    (self.folder / name).unlink(missing_ok=True)
                write_atomically(self.folder / _ORIGIN_FILE, json.dumps(origin).encode())
                (self.folder / _ORIGIN_FILE).chmod(0o600)  # storage_options may hold credentials
        except (OSError, TypeError) as error:
            raise create_cache_error(self.folder, error) from error

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
        ConfigError: the cache cannot be written.
    """
    origin_file = path.parent / _ORIGIN_FILE
    if not origin_file.is_file():
        return False
    origin = json.loads(origin_file.read_text())
    if path.name not in origin['files']:
        return False
    num_bytes, sha256 = origin['files'][path.name]
    try:
        with lock_file(path.parent / f'.{path.name}.locked'):  # the workers of a loader need a shard at the same time
            # Asked again under the lock: another worker may have fetched it meanwhile.
            if not path.is_file():
                with bound_cache(path, origin['max_bytes'], num_bytes):
                    fetch_remote_file(
                        f'{origin["address"]}/{path.name}', path, origin['storage_options'], num_bytes, sha256
                    )
    except OSError as error:
        raise create_cache_error(path.parent, error) from error
    return True


def create_cache_error(folder: Path, error: Exception) -> ConfigError:
    """Create the error of a cache that cannot be written.

    Args:
        folder: of the cache.
        error: that of the system.
    """
    reason = getattr(error, 'strerror', None) or error
    return ConfigError(
        f'{folder}: the cache cannot be written ({reason}); free space there, or name another folder by cache_folder '
        f'or the variable POSEPLUG_CACHE'
    )


@contextmanager
def bound_cache(file: Path, max_bytes: int, num_bytes: int) -> Iterator[None]:
    """Make room for a tar file that is fetched within the context, and again after it, as other processes fetch, too.

    Args:
        file: that is fetched; it is not deleted, even if it alone is larger than the cache.
        max_bytes: of all tar files of its folder.
        num_bytes: of the file.
    """
    _delete_oldest(file, max_bytes - num_bytes)
    yield
    _delete_oldest(file, max_bytes - num_bytes)


def _delete_oldest(fetched: Path, max_bytes: int) -> None:
    """Delete the tar files that were fetched first until those beside the given one have at most so many bytes."""
    files = []
    for file in set(fetched.parent.glob('*.tar')) - {fetched}:
        with suppress(FileNotFoundError):  # another process makes room, too
            status = file.stat()
            files.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= max_bytes:
            return
        total -= size
        file.unlink(missing_ok=True)
