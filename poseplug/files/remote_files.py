"""Files at addresses of stores (http, s3, gs, ...), read by fsspec, and again after errors of the network."""

from __future__ import annotations

__all__ = ['check_file_system', 'fetch_remote_file', 'is_remote_address', 'read_remote_file', 'read_remote_version']

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from poseplug.core.errors import ConfigError, ImageError
from poseplug.files.live_sources import describe_address

_NUM_TRIES = 5
_FIRST_WAIT_S = 0.2  # doubled after each failed try
_CHUNK_BYTES = 1 << 20
_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 30, 60  # without a byte
# Of answers that may be another one a moment later; the other ones from 400 to 499 stay.
_TEMPORARY_STATUSES = (408, 425, 429)
# What stores state of a file's content, as fsspec calls it (http, s3 and gs, local).
_VERSION_FIELDS = ('size', 'ETag', 'etag', 'Content-MD5', 'md5Hash', 'Last-Modified', 'LastModified', 'mtime')

_ResultT = TypeVar('_ResultT')


class _TransferError(Exception):
    """An error of a network or a store, whatever class its library has for it."""

    def __init__(self, cause: BaseException):
        # fsspec makes a missing file of every answer to a question for the size, such as 503
        if isinstance(cause, FileNotFoundError) and cause.__cause__ is not None:
            cause = cause.__cause__
        # of HTTP, as the libraries of stores keep it
        self.status = getattr(cause, 'status', None) or getattr(cause, 'code', None)
        is_refusal = isinstance(self.status, int) and 400 <= self.status < 500
        is_absent = isinstance(cause, (FileNotFoundError, IsADirectoryError)) or self.status == 404
        is_forbidden = isinstance(cause, PermissionError) or self.status in (401, 403)
        self.is_final = is_absent or is_forbidden or (is_refusal and self.status not in _TEMPORARY_STATUSES)
        if is_absent:
            text = 'there is no such file'
        elif is_forbidden:
            text = 'the access is denied'
        else:
            text = str(cause) or type(cause).__name__
        super().__init__(text)


def is_remote_address(text: str) -> bool:
    """Return whether a text is an address of a file system, as in 's3://bucket/folder'.

    Example:
        >>> is_remote_address('s3://bucket/people'), is_remote_address('data/people')
        (True, False)
    """
    return re.match(r'[a-zA-Z][a-zA-Z0-9+.-]+://', text) is not None


def check_file_system(address: str, storage_options: Mapping[str, Any]) -> None:
    """Check that the file system of an address is installed.

    Args:
        address: of a file or a folder.
        storage_options: of the file system.

    Raises:
        ConfigError: it is not, or does not know the options.
    """
    _open_file_system(address, storage_options)


def read_remote_file(
    address: str, storage_options: Mapping[str, Any], check_content: Callable[[bytes], Any] = len
) -> bytes:
    """Read a small file at once.

    Args:
        address: of the file.
        storage_options: of the file system.
        check_content: raises a ValueError for a content that is not whole, which is then read again; without it every
            content is whole.

    Raises:
        ImageError: it cannot be read.
    """

    def read_checked() -> bytes:
        file_system, path = _open_file_system(address, storage_options)
        with _convert_errors():
            data: bytes = file_system.cat_file(path)
            check_content(data)
        return data

    return _retry_transfer(read_checked, address)


def read_remote_version(address: str, storage_options: Mapping[str, Any]) -> dict[str, str]:
    """Read what a store says of the content of a file: its size, its checksum and when it was written, if it does.

    Args:
        address: of the file.
        storage_options: of the file system.

    Raises:
        ImageError: there is no such file, or the store does not answer.
    """

    def read_info() -> Mapping[str, Any]:
        file_system, path = _open_file_system(address, storage_options)
        with _convert_errors():
            file_system.invalidate_cache()
            info: Mapping[str, Any] = file_system.info(path)
        return info

    info = _retry_transfer(read_info, address)
    return {name: str(info[name]) for name in _VERSION_FIELDS if info.get(name) is not None}


def fetch_remote_file(
    address: str, target: Path, storage_options: Mapping[str, Any], num_bytes: int | None, sha256: str | None = None
) -> None:
    """Fetch a file; it gets its name when its size and its checksum are right.

    Args:
        address: of the file.
        target: the file to write; one process at a time may fetch it.
        storage_options: of the file system.
        num_bytes: its size; None if it is not known.
        sha256: its checksum; None if it is not known.

    Raises:
        ImageError: it cannot be fetched, or is another one.
        OSError: the target cannot be written.
    """
    # One name for all tries: what a process that was killed left behind is written over.
    partial = target.with_name(f'.{target.name}.partial')

    def fetch() -> None:
        digest, count = hashlib.sha256(), 0
        with open(partial, 'wb') as file:
            for chunk in _iter_chunks(address, storage_options):
                digest.update(chunk)
                count += len(chunk)
                file.write(chunk)
                if num_bytes is not None and count > num_bytes:  # an endless answer would fill the disk
                    break
        if num_bytes is not None and count != num_bytes:
            raise _TransferError(ValueError(f'{count:,} bytes came instead of {num_bytes:,}'))
        if sha256 is not None and digest.hexdigest() != sha256:
            raise _TransferError(ValueError(f'{count:,} bytes that are not those that were written'))

    try:
        _retry_transfer(fetch, address)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _open_file_system(address: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        fsspec = import_module('fsspec')
        options = dict(storage_options)
        if _is_http(address):
            # The default is five minutes for a whole file, which a large one may need; and it waits for a dead server.
            limits = dict(total=None, connect=_CONNECT_TIMEOUT_S, sock_read=_READ_TIMEOUT_S)
            timeout = import_module('aiohttp').ClientTimeout(**limits)
            options['client_kwargs'] = {'timeout': timeout, **options.get('client_kwargs', {})}
        file_system, path = fsspec.core.url_to_fs(address, **options)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{describe_address(address)}: {error}; pip install 'poseplug[shards]' or the package it names"
        ) from error
    return file_system, path


def _is_http(address: str) -> bool:
    return re.match('https?://', address, re.IGNORECASE) is not None


def _iter_chunks(address: str, storage_options: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the content of a file; what is done with a chunk is not tried again if it fails."""
    file_system, path = _open_file_system(address, storage_options)
    # In one answer: many servers do not know requests of a part, among them that of Python. A size, whichever, saves a
    # request for it.
    options: dict[str, Any] = dict(block_size=0, size=1) if _is_http(address) else {}
    with _convert_errors():
        source = file_system.open(path, 'rb', **options)
    try:
        while True:
            with _convert_errors():
                chunk = source.read(_CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        source.close()


@contextmanager
def _convert_errors() -> Iterator[None]:
    """Make one class of all errors: every store's library has its own, without one in common."""
    try:
        yield
    except Exception as error:
        raise _TransferError(error) from error


def _retry_transfer(action: Callable[[], _ResultT], address: str) -> _ResultT:
    """Try again after errors of a network, with growing pauses."""
    title = describe_address(address)
    for number in range(1, _NUM_TRIES + 1):
        try:
            return action()
        except _TransferError as error:
            if error.is_final:
                raise ImageError(f'{title}: {error}; check the address and your rights') from error
            if number == _NUM_TRIES:
                raise ImageError(f'{title}: {error} (tried {_NUM_TRIES} times); is the store working?') from error
            logging.getLogger('poseplug').warning('%s: %s; trying again', title, error)
            time.sleep(_FIRST_WAIT_S * 2 ** (number - 1))
    raise AssertionError  # the last try returns or raises
