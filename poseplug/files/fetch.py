"""Downloads that are verified: a file is used only if its whole SHA-256 is the expected one.

By urllib, since pooch has neither a rule for redirects nor a limit of size: with both, this module was ten lines
shorter, needed six more packages, and left the connection open where the limit ended a download.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
from http.client import HTTPException
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.files.cache_folder import get_cache_folder
from poseplug.files.download_address import MAX_DOWNLOAD_BYTES, check_download_url, open_download, url_to_file_name
from poseplug.files.hub_download import download_hub_file, is_hub_address, parse_hub_address

_SHA256_PATTERN = re.compile(r'[0-9a-f]{64}')
_CHUNK_BYTES = 1 << 20


def fetch_file(url: str, sha256: str, folder: Path | None = None) -> Path:
    """Download a file once and verify it; a copy in the folder is verified and used again.

    Args:
        url: https address of the file, http only on this machine; or `hf://OWNER/REPOSITORY/FILE`.
        sha256: expected SHA-256 as 64 digits 0-9 and a-f.
        folder: where the file is kept; by default `get_cache_folder()`.

    Returns:
        Path of the verified file; its name starts with the first 16 digits of the SHA-256.

    Raises:
        UnsafeFileError: the SHA-256 is not complete, the address is not accepted, or the content is another one.
        CheckpointError: the file cannot be downloaded, or not as a whole.
    """
    if not isinstance(sha256, str) or not _SHA256_PATTERN.fullmatch(sha256):
        raise UnsafeFileError(
            f'{url}: a downloaded file needs its sha256, 64 digits of 0-9 and a-f; got {sha256!r}. Take it from the '
            f'page that publishes the file, and give it as URL#sha256=DIGITS'
        )
    check_address(url)
    folder = get_cache_folder() if folder is None else folder
    path = folder / f'{sha256[:16]}-{url_to_file_name(url)}'
    if path.is_file() and compute_file_sha256(path) == sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that the finished file gets its name in one step.
    with tempfile.TemporaryDirectory(prefix='.fetch-', suffix='.partial', dir=folder) as partial_folder:
        partial = Path(partial_folder) / 'file'
        actual_sha256 = _download_to(url, partial)
        if actual_sha256 != sha256:
            raise UnsafeFileError(
                f'{url} holds another file: its sha256 is {actual_sha256}, not {sha256}; it was not kept'
            )
        os.replace(partial, path)
    return path


def fetch_pinned_url(pinned_url: str) -> Path:
    """Download and verify `URL#sha256=DIGITS`; see `fetch_file`."""
    url, _, sha256 = pinned_url.partition('#sha256=')
    return fetch_file(url, sha256)


def check_address(url: str) -> None:
    """Check that an address is https, http on this machine, or a file of the Hugging Face Hub.

    Args:
        url: the address.

    Raises:
        UnsafeFileError: it is another one.
    """
    if is_hub_address(url):
        parse_hub_address(url)
    else:
        check_download_url(url, url)


def _download_to(url: str, partial: Path) -> str:
    """Write the file at an address, and return its SHA-256."""
    if is_hub_address(url):
        download_hub_file(url, partial)
        return compute_file_sha256(partial)
    with open(partial, 'wb') as file:
        sha256 = _download_file(url, file)
        os.fsync(file.fileno())  # before the rename, or a crash could leave an empty file under the final name
    return sha256


def _download_file(url: str, file: Any) -> str:
    """Write the content of a URL to an open file and return its SHA-256."""
    num_bytes, digest = 0, hashlib.sha256()
    try:
        with open_download(url) as response:
            # Without a Content-Length only the SHA-256 tells whether the file is complete.
            declared_bytes = int(response.headers.get('Content-Length') or -1)
            # Counted while it comes: a server may send more than it stated.
            while chunk := response.read(_CHUNK_BYTES):
                num_bytes += len(chunk)
                if num_bytes > MAX_DOWNLOAD_BYTES:
                    max_gib = MAX_DOWNLOAD_BYTES >> 30
                    raise CheckpointError(f'{url} is larger than {max_gib} GiB; fetch it by hand')
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        raise CheckpointError(f'{url}: {error.code} {error.reason}; is the address right?') from None
    except (OSError, HTTPException, ValueError) as error:
        raise CheckpointError(f'{url} cannot be fetched ({error}); try again, or fetch it by hand') from error
    if declared_bytes >= 0 and num_bytes != declared_bytes:
        raise CheckpointError(f'{url} was cut off: {num_bytes:,} of {declared_bytes:,} bytes came; try again')
    return digest.hexdigest()


def compute_file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
