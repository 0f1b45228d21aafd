"""Images and videos at http and https addresses: what is there is told by its first bytes and loaded to a file."""

from __future__ import annotations

__all__ = ['MAX_MEDIA_BYTES', 'fetch_media', 'spool_bytes']

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from poseplug.core.errors import CheckpointError, ImageError, UnsafeFileError
from poseplug.files.download_address import url_to_file_name
from poseplug.files.fetch import fetch_pinned_url
from poseplug.files.image_headers import detect_image_format
from poseplug.files.images import IMAGE_SUFFIXES
from poseplug.files.live_sources import describe_address
from poseplug.files.video_reader import VIDEO_SUFFIXES

MAX_MEDIA_BYTES = 4 << 30  # so that an endless answer does not fill the disk
_CHUNK_BYTES = 1 << 20
_NUM_HEAD_BYTES = 64  # that a format is recognized by
_TIMEOUT_S = 30  # without a byte
_LIVE_TYPES = ('multipart/', 'application/vnd.apple.mpegurl', 'application/x-mpegurl', 'audio/mpegurl')
_PAGE_TYPES = ('text/html', 'application/json', 'text/xml', 'application/xml')


def fetch_media(url: str, folder: Path, max_bytes: int = MAX_MEDIA_BYTES) -> Path | None:
    """Load the image or video at an address to a file.

    Args:
        url: http or https; with `#sha256=DIGITS` the content is verified and kept for the next time.
        folder: of the file; one that is verified is in the folder for downloads.
        max_bytes: larger files are refused.

    Returns:
        Path of the file, whose suffix is that of an image or of a video; None for a live stream, which states no
        length.

    Raises:
        ImageError: the address cannot be reached, holds a web page, or a file that is too large or cut off.
        UnsafeFileError: the content has another SHA-256.
    """
    if '#sha256=' in url:
        try:
            return fetch_pinned_url(url)
        except UnsafeFileError:
            raise
        except CheckpointError as error:  # as downloads of weights call it
            raise ImageError(str(error)) from None
    title = describe_address(url)
    try:
        with urllib.request.urlopen(_build_request(url), timeout=_TIMEOUT_S) as response:
            return _save_response(response, title, folder, max_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        raise ImageError(f'{title}: {error.code} {error.reason}; is the address right?') from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, 'reason', None) or error
        raise ImageError(
            f'{title} cannot be fetched ({reason}); check the address and the network, or download the file and name it'
        ) from None


def _build_request(url: str) -> urllib.request.Request:
    """A request whose user and password go to the host of the address alone, not where that leads to."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition('@')
    request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers={'User-Agent': 'poseplug'})
    if user:
        token = base64.b64encode(unquote(user).encode()).decode()
        # A redirect to another host must not carry the password along.
        request.add_unredirected_header('Authorization', f'Basic {token}')
    return request


def _save_response(response: Any, title: str, folder: Path, max_bytes: int) -> Path | None:
    """Save an answer to a file; None if it is a live stream."""
    content_type = response.headers.get_content_type()
    declared_bytes = int(response.headers.get('Content-Length') or -1)
    if content_type.startswith(_LIVE_TYPES):
        return None
    encoding = response.headers.get('Content-Encoding', 'identity').lower()
    if encoding != 'identity':  # not asked for; its bytes would be taken for a damaged video
        raise ImageError(
            f'{title} is sent in the encoding {encoding}, which is not read; download the file and name it'
        )
    head = b''
    # read1 returns what has come: a slow stream need not fill a whole chunk before it is recognized.
    while len(head) < _NUM_HEAD_BYTES and (chunk := response.read1(_NUM_HEAD_BYTES)):
        head += chunk
    if not detect_image_format(head):
        if content_type in _PAGE_TYPES:
            raise ImageError(f'{title} is {content_type}, no image or video; give the address of the file itself')
        # Neither an image nor a length: a camera's endless answer.
        if declared_bytes < 0:
            return None
    rest = iter(lambda: response.read(_CHUNK_BYTES), b'')
    file, num_bytes = spool_bytes(chain([head], rest), folder, url_to_file_name(title), title, max_bytes)
    if 0 <= declared_bytes != num_bytes:
        raise ImageError(f'{title} was cut off: {num_bytes:,} of {declared_bytes:,} bytes came; try again')
    return file


def spool_bytes(
    chunks: Iterator[bytes], folder: Path, name: str, title: str, max_bytes: int = MAX_MEDIA_BYTES
) -> tuple[Path, int]:
    """Write the bytes of an image or a video to a file with a fitting suffix.

    Args:
        chunks: of the content; the first one holds the first 64 bytes, if there are so many.
        folder: of the file; it is created.
        name: of the file, whose suffix is replaced if it does not fit.
        title: what messages call the content.
        max_bytes: more are refused.

    Returns:
        Path of the file, and its number of bytes.

    Raises:
        ImageError: there are no bytes, or too many.
    """
    head, num_bytes = next(chunks, b''), 0
    if not head:
        raise ImageError(f'{title} is empty; give an image or a video')
    file = folder / _fit_suffix(Path(name), head)
    folder.mkdir(parents=True, exist_ok=True)
    opened: IO[bytes]
    with open(file, 'wb') as opened:
        for chunk in chain([head], chunks):
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise ImageError(f'{title} is larger than {max_bytes:,} bytes; download the file and name it')
            opened.write(chunk)
    return file, num_bytes


def _fit_suffix(name: Path, head: bytes) -> str:
    """A file name with the suffix of an image or a video, as its first bytes say."""
    image_format = detect_image_format(head)
    if not image_format:
        return name.name if name.suffix.lower() in VIDEO_SUFFIXES else f'{name.stem}.mp4'
    return name.name if name.suffix.lower() in IMAGE_SUFFIXES else f'{name.stem}.{image_format.lower()}'
