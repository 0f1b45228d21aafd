"""Files from the net: nothing is believed before its whole SHA-256 is that which was asked for."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from poseplug.errors import CheckpointError, UnsafeFileError

SHA256 = re.compile(r'[0-9a-f]{64}')
HERE = ('127.0.0.1', '::1', 'localhost')  # hosts from which plain http is taken
PIECE = 1 << 20  # bytes
MOST = 20 << 30  # bytes
PATIENCE = 30  # s without a byte


class Careful(urllib.request.HTTPRedirectHandler):
    """Follows redirections to places that `check_place` allows."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        try:
            check_place(newurl, f'{req.full_url} leads to {newurl}')
        except UnsafeFileError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def cache_folder() -> Path:
    """Where fetched files lie: POSEPLUG_CACHE, or the user's cache folder."""
    named = os.environ.get('POSEPLUG_CACHE')
    return Path(named) if named else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'poseplug'


def fetch(url: str, sha256: str, folder: Path | None = None) -> Path:
    """The file behind a URL, out of `folder` (by default the cache) where it lies there as it should.

    Raises:
        UnsafeFileError: no whole SHA-256 was given, the place is not to be trusted, or the content is another one.
        CheckpointError: it cannot be fetched, or not as a whole.
    """
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise UnsafeFileError(
            f'{url}: a file from the net needs its sha256, 64 digits of 0-9 and a-f; got {sha256!r}. Take it from the '
            f'page that publishes the file, and give it as URL#sha256=DIGITS'
        )
    check_place(url, url)
    folder = cache_folder() if folder is None else folder
    path = folder / f'{sha256[:16]}-{file_name(url)}'
    if path.is_file() and digest(path) == sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix='.fetch-', suffix='.partial', dir=folder)
    try:
        with os.fdopen(handle, 'wb') as file:
            found = download(url, file)
            os.fsync(file.fileno())
        if found != sha256:
            raise UnsafeFileError(f'{url} holds another file: its sha256 is {found}, not {sha256}; it was not kept')
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def fetched(address: str) -> Path:
    """The file behind `URL#sha256=DIGITS`, as `fetch` gives it."""
    url, _, sha256 = address.partition('#sha256=')
    return fetch(url, sha256)


def check_place(url: str, told: str) -> None:
    """An error unless a URL is https, or http of this machine."""
    parts = urlsplit(url)
    if parts.scheme != 'https' and not (parts.scheme == 'http' and parts.hostname in HERE):
        raise UnsafeFileError(f'{told}, which is not https; give an https address')


def file_name(url: str) -> str:
    """The last part of a URL as a plain file name."""
    return re.sub(r'[^A-Za-z0-9._-]', '_', unquote(urlsplit(url).path).rpartition('/')[2]).lstrip('.')[-100:] or 'file'


def download(url: str, file: Any) -> str:
    """Write what a URL holds to an open file, and return its SHA-256."""
    seen, digest = 0, hashlib.sha256()
    try:
        with urllib.request.build_opener(Careful).open(url, timeout=PATIENCE) as answer:
            stated = int(answer.headers.get('Content-Length') or -1)
            while piece := answer.read(PIECE):
                seen += len(piece)
                if seen > MOST:
                    raise CheckpointError(f'{url} is larger than {MOST >> 30} GiB; fetch it by hand')
                digest.update(piece)
                file.write(piece)
    except urllib.error.HTTPError as error:
        error.close()
        raise CheckpointError(f'{url}: {error.code} {error.reason}; is the address right?') from None
    except (OSError, HTTPException, ValueError) as error:
        raise CheckpointError(f'{url} cannot be fetched ({error}); try again, or fetch it by hand') from error
    if stated >= 0 and seen != stated:
        raise CheckpointError(f'{url} was cut off: {seen:,} of {stated:,} bytes came; try again')
    return digest.hexdigest()


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
