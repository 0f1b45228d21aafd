"""The folder of published weights: files as they were published, converted ones, and a lock file with their SHA-256.

Of most files only eight digits of the SHA-256 are published. The first fetch checks these and pins the whole SHA-256 in
the lock file; ever after, a file is used only if it is that one.
"""

from __future__ import annotations

__all__ = ['LOCK_FILE', 'MODELS_FOLDER', 'WeightCache', 'check_published_digest']

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.files.atomic import write_atomically
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.download_address import url_to_file_name
from poseplug.files.fetch import compute_file_sha256
from poseplug.files.file_lock import lock_file
from poseplug.files.resumed_fetch import download_resumed
from poseplug.zoo.index import PublishedModel

LOCK_FILE = 'lock.json'
MODELS_FOLDER = 'models'


class WeightCache:
    """The published weights on this machine.

    Args:
        folder: of the files; by default `models` in the folder for downloads (`get_cache_folder`).

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = get_cache_folder() / MODELS_FOLDER if folder is None else folder

    def get_file_path(self, entry: PublishedModel) -> Path:
        """Return where the published file of a model is, or would be."""
        # By the first address, whichever the file came from.
        return self.folder / url_to_file_name(entry.urls[0])

    def fetch_published_file(self, entry: PublishedModel) -> Path:
        """Return the published file of a model, from this folder or from its address.

        Args:
            entry: of the model.

        Returns:
            The file, whose SHA-256 is the pinned one, and begins as published.

        Raises:
            UnsafeFileError: the file is another one than is published, or than was fetched before.
            CheckpointError: it is not here and cannot be fetched; the message says where to put it.
        """
        path = self.get_file_path(entry)
        if not path.is_file():
            self._download_model(entry, path)
        record = self.read_record(path.name)
        sha256 = compute_file_sha256(path)
        # Computed at every use: a file may have been damaged or replaced on the disk.
        try:
            check_published_digest(entry, path, sha256)
        except UnsafeFileError as error:
            raise UnsafeFileError(f'{error}. Delete it to fetch it again') from None
        if record is None:
            self._pin_file(path, sha256, entry)
        elif record['sha256'] != sha256:
            raise UnsafeFileError(
                f'{path} is not the file that was fetched before: its sha256 is {sha256}, and {LOCK_FILE} says '
                f'{record["sha256"]}. Delete the file to fetch it again'
            )
        return path

    def _download_model(self, entry: PublishedModel, path: Path) -> None:
        """Download the file of a model; other processes that want it wait."""

        def check_digest(partial: Path) -> None:
            sha256 = compute_file_sha256(partial)
            check_published_digest(entry, partial, sha256)
            record = self.read_record(path.name)
            # Also of a file that is fetched again: what was pinned once must not change with the server.
            if record is not None and record['sha256'] != sha256:
                raise UnsafeFileError(
                    f'its sha256 is {sha256}, and that of the file fetched before was {record["sha256"]}. If the '
                    f'publisher says that the file was replaced, remove it from {self.folder / LOCK_FILE}'
                )

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.lock_folder(path.name):
                if path.is_file():  # another process was faster
                    return
                # Hidden, and renamed when it is verified: a whole name is a whole file.
                partial = path.with_name(f'.{path.name}.partial')
                url = download_resumed(entry.urls, partial, check_digest)
                partial.replace(path)
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(
                f'{path}: {reason}; set POSEPLUG_CACHE or --to to a folder that can be written, or '
                f'{_describe_manual_fetch(entry, path)}'
            ) from error
        except CheckpointError as error:
            raise CheckpointError(
                f'{entry.name} cannot be fetched: {error}. Without a network, {_describe_manual_fetch(entry, path)}'
            ) from error
        self._pin_file(path, compute_file_sha256(path), entry, url)

    def _pin_file(self, path: Path, sha256: str, entry: PublishedModel, url: str = '') -> None:
        record = dict(sha256=sha256, bytes=path.stat().st_size, url=url or entry.urls[0])
        self.write_record(path.name, record)

    def read_record(self, file_name: str) -> dict[str, Any] | None:
        """Return what the lock file says about a file; None if it says nothing.

        Raises:
            CheckpointError: the lock file is damaged.
        """
        return self._read_lock().get(file_name)

    def read_digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, as pinned or else computed."""
        record = self.read_record(path.name)
        return compute_file_sha256(path) if record is None else str(record['sha256'])

    def write_record(self, file_name: str, record: dict[str, Any]) -> None:
        """Write what is known of a file to the lock file; in a folder that cannot be written nothing is pinned."""
        try:
            with self.lock_folder(LOCK_FILE):
                # Read again under the lock: another process may have written since.
                records = {**self._read_lock(), file_name: record}
                write_atomically(self.folder / LOCK_FILE, json.dumps(records, indent=1, sort_keys=True).encode())
        except OSError:
            return

    def _read_lock(self) -> dict[str, dict[str, Any]]:
        file = self.folder / LOCK_FILE
        if not file.is_file():
            return {}
        try:
            records: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding='utf-8'))
            if all('sha256' in record for record in records.values()):
                return records
        except (ValueError, AttributeError, TypeError):
            pass
        raise CheckpointError(
            f'{file} is damaged. Delete it: the files beside it are then checked by their published digits and pinned '
            f'again'
        )

    @contextmanager
    def lock_folder(self, name: str) -> Iterator[None]:
        """Let one process at a time work on a file.

        Args:
            name: of the file.

        Raises:
            OSError: the folder cannot be written.
        """
        with lock_file(self.folder / f'.{name}.locked'):
            yield


def check_published_digest(entry: PublishedModel, path: Path, sha256: str) -> None:
    """Check the SHA-256 of a file against what is published.

    Args:
        entry: of the model.
        path: the file.
        sha256: of the file.

    Raises:
        UnsafeFileError: it is another one.
    """
    expected = entry.sha256 or entry.sha256_prefix
    if not sha256.startswith(expected):
        raise UnsafeFileError(
            f'{path} is not the published file of {entry.name}: its sha256 begins with {sha256[: len(expected)]}, and '
            f'the published one with {expected}'
        )


def _describe_manual_fetch(entry: PublishedModel, path: Path) -> str:
    """What to do on a machine without a network."""
    return (
        f'fetch {entry.urls[0]} elsewhere and put it at {path}; or run poseplug fetch {entry.name} --to DIR there, '
        f'copy DIR, and set POSEPLUG_CACHE to it'
    )
