"""Standard input as images: a file of an image or a video, or a list of inputs, told by its first bytes."""

from __future__ import annotations

__all__ = ['read_standard_input']

import sys
from itertools import chain
from pathlib import Path

from poseplug.core.errors import ImageError
from poseplug.files.image_headers import detect_image_format
from poseplug.files.media_address import spool_bytes

_TITLE = 'standard input'
_HEAD_BYTES = 4096
_CHUNK_BYTES = 1 << 20
_RAW_VIDEO_START = b'YUV4MPEG2'  # the one video format that starts with text
_PRINTED_CONTROLS = frozenset(b'\t\n\r\x0c\x1b')


def read_standard_input(folder: Path) -> Path | list[str]:
    """Read all of standard input.

    Args:
        folder: where an image or a video is written to.

    Returns:
        Path of the image or video, or the lines of a text: paths, addresses and patterns, one each.

    Raises:
        ImageError: there is nothing, or too much.
    """
    stream = sys.stdin.buffer
    head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise ImageError(f'{_TITLE} is empty; send an image, a video, or paths, one a line')
    if _is_text(head):
        # names of files are bytes; those that are no UTF-8 find their file again
        text = (head + stream.read()).decode(errors='surrogateescape')
        return [line for line in text.splitlines() if line.strip()]
    rest = iter(lambda: stream.read(_CHUNK_BYTES), b'')
    return spool_bytes(chain([head], rest), folder, 'stdin', _TITLE)[0]


def _is_text(head: bytes) -> bool:
    """Whether bytes are text in UTF-8 or another extension of ASCII, and no file of an image or video."""
    if detect_image_format(head) or head.startswith(_RAW_VIDEO_START):
        return False
    # bytes above 127 occur in UTF-8 and Latin-1, control bytes only in binary files
    return not any(byte < 32 and byte not in _PRINTED_CONTROLS or byte == 127 for byte in head)
