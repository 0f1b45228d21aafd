"""Downloads that go on where they were cut, from the first of several addresses that answers."""

from __future__ import annotations

__all__ = ['download_resumed']

import urllib.error
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.core.progress import start_progress_bar
from poseplug.files.download_address import MAX_DOWNLOAD_BYTES, open_download, url_to_file_name
from poseplug.files.fetch import check_address
from poseplug.files.hub_download import download_hub_file, is_hub_address

_CHUNK_BYTES = 1 << 18
_MIB = 1 << 20
_NUM_TRIES = 3  # of an address whose answer is cut, each going on where the last one ended
_HTTP_RANGE_NOT_SATISFIABLE = 416
_HTTP_PARTIAL_CONTENT = 206


class _CutDownloadError(Exception):
    """An answer ended before its stated size."""


def download_resumed(urls: Sequence[str], partial: Path, check: Callable[[Path], None]) -> str:
    """Download a file completely, and check it.

    What came before a cut stays in the partial file, and the next call asks for the rest. A server that does not send
    parts, or whose file has changed, sends the whole file again.

    Args:
        urls: addresses of one file, as for `fetch_file`; the next is tried where one fails.
        partial: where the bytes are written; the caller renames it once it is complete.
        check: raises CheckpointError or UnsafeFileError if the complete file is another one than expected.

    Returns:
        The address that the file came from.

    Raises:
        CheckpointError: no address gave the file; the message has the reason for each.
        UnsafeFileError: an address is not accepted.
    """
    for url in urls:
        check_address(url)
    failures = []
    for url in urls:
        try:
            _download_from(url, partial)
        except CheckpointError as error:
            failures.append(str(error))
            continue
        try:
            check(partial)
        except (CheckpointError, UnsafeFileError) as error:
            partial.unlink()
            failures.append(f'{url}: {error}')
            continue
        return url
    raise CheckpointError('; '.join(failures))


def _download_from(url: str, partial: Path) -> None:
    """Download from one address; answers that are cut are continued a few times."""
    if is_hub_address(url):
        return download_hub_file(url, partial)
    for attempt in range(_NUM_TRIES):
        try:
            return _append_rest(url, partial)
        except _CutDownloadError as error:
            if attempt == _NUM_TRIES - 1:
                raise CheckpointError(f'{url} was cut off: {error}; try again, it goes on from there') from None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _HTTP_RANGE_NOT_SATISFIABLE and partial.exists():
                partial.unlink()  # it is longer than the file is now
                continue
            raise CheckpointError(f'{url}: {error.code} {error.reason}') from None
        except (OSError, HTTPException, ValueError) as error:
            raise CheckpointError(f'{url} cannot be fetched ({error})') from error
    raise CheckpointError(f'{url} cannot be fetched: the server refuses to send the rest')


def _append_rest(url: str, partial: Path) -> None:
    """Append what is missing of a file.

    Raises:
        _CutDownloadError: the answer ended early.
    """
    validator_file = partial.with_name(f'{partial.name}.tag')
    # If-Range: the rest is sent only if the file still has this version, otherwise all of it.
    start, tag = _read_start(partial, validator_file, url)
    headers = {'Range': f'bytes={start}-', 'If-Range': tag} if start else {}
    with open_download(url, headers) as response:
        answer = _describe_answer(response, start)
        validator_file.write_text(f'{url}\n{answer.tag}', encoding='utf-8')
        with open(partial, 'ab' if answer.start else 'wb') as file:
            _copy_answer(response, file, answer, url_to_file_name(url))
    validator_file.unlink(missing_ok=True)


def _read_start(partial: Path, validator_file: Path, url: str) -> tuple[int, str]:
    """The number of bytes that can stay, and the version of the file that they are of; 0 if that is not known."""
    if not partial.is_file() or not validator_file.is_file():
        return 0, ''
    tag_url, _, tag = validator_file.read_text(encoding='utf-8').partition('\n')
    return (partial.stat().st_size, tag) if tag and tag_url == url else (0, '')


class _Answer(NamedTuple):
    """What a server sends: from which byte on, the size of the whole file (0: not stated), the file's version."""

    start: int
    num_bytes: int
    tag: str


def _describe_answer(response: Any, start: int) -> _Answer:
    is_partial = response.status == _HTTP_PARTIAL_CONTENT
    length = int(response.headers.get('Content-Length') or 0)
    # A server that ignores Range answers 200 and begins at 0.
    first = start if is_partial else 0
    tag = response.headers.get('ETag') or ''
    if tag.startswith('W/'):
        tag = ''  # a weak tag does not promise equal bytes
    return _Answer(first, first + length if length else 0, tag or response.headers.get('Last-Modified') or '')


def _copy_answer(response: Any, file: Any, answer: _Answer, title: str) -> None:
    """Write an answer to a file and show the progress."""
    completed = answer.start
    bar = start_progress_bar(f'fetching {title}', answer.num_bytes // _MIB, answer.start // _MIB, unit='MiB')
    try:
        while chunk := response.read(_CHUNK_BYTES):
            before, completed = completed, completed + len(chunk)
            if completed > MAX_DOWNLOAD_BYTES:
                raise ValueError(f'it is larger than {MAX_DOWNLOAD_BYTES >> 30} GiB')
            file.write(chunk)
            bar.update(completed // _MIB - before // _MIB)
    except HTTPException:
        pass  # fewer bytes than stated, which the size tells
    finally:
        bar.close()
    if completed < answer.num_bytes:
        raise _CutDownloadError(f'{completed:,} of {answer.num_bytes:,} bytes came')
