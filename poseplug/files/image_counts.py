"""Tells files of one image from those of several, of which a reader of images reads the first alone, and reports them.

PNG (APNG 1.0), WebP (RFC 9649), GIF (89a), TIFF (6.0); no pixel is decoded.
"""

from __future__ import annotations

__all__ = ['has_several_images', 'report_further_images']

import logging
import struct
from collections.abc import Callable
from functools import lru_cache

from poseplug.files.image_headers import detect_image_format, iter_chunks, iter_tiff_directories

_ImageBytes = bytes | bytearray

_WEBP_ANIMATION_FLAG = 2  # in the first byte of the chunk VP8X
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21  # what a block of a GIF file begins with
_GIF_TABLE_FLAG = 0x80  # a color table follows, whose size is in the three lowest bits
# NewSubfileType of TIFF: a smaller version of another page, or the mask of its transparent parts
_TIFF_NO_IMAGE_FLAGS = 1 | 4


@lru_cache(maxsize=4096)  # once for each file, which is opened to be checked, predicted and drawn
def report_further_images(name: str, image_format: str) -> None:
    """Warn that a file holds more images than the one that is read.

    Args:
        name: what the message calls the file.
        image_format: of the file.
    """
    logging.getLogger('poseplug').warning(
        '%s holds several images (%s), of which the first is read; to read all, give an animation by its path, '
        'which ends in .gif, .webp or .apng, or store the images in files of their own',
        name,
        image_format,
    )


def has_several_images(data: _ImageBytes) -> bool:
    """Whether a file holds several images: an animation, or pages.

    Smaller versions of an image, as previews and thumbnails, do not count, nor do the further images of a JPEG file, as
    its depth.

    Args:
        data: the content of an image file.

    Example:
        >>> has_several_images(b'GIF89a')
        False
    """
    count_images = _COUNTERS.get(detect_image_format(data))
    try:
        return count_images is not None and count_images(data) > 1
    except (struct.error, IndexError, ValueError):  # damaged; what decodes the file reports that
        return False


def _count_png_frames(data: _ImageBytes) -> int:
    for name, content in iter_chunks(data):
        if name == b'acTL':
            (count,) = struct.unpack_from('>I', content)
            return int(count)
        if name == b'IDAT':  # the number of frames has to come before the pixels
            break
    return 1


def _count_webp_frames(data: _ImageBytes) -> int:
    is_animation = bytes(data[12:16]) == b'VP8X' and data[20] & _WEBP_ANIMATION_FLAG
    return sum(name == b'ANMF' for name, _ in iter_chunks(data)) if is_animation else 1


def _count_gif_images(data: _ImageBytes) -> int:
    """Count the images of a GIF file, and stop at the second."""
    count, offset = 0, 13 + _get_gif_table_size(data[10])
    while count < 2 and offset < len(data) and data[offset] in (_GIF_IMAGE, _GIF_EXTENSION):
        if data[offset] == _GIF_IMAGE:
            count += 1
            # the descriptor of 10 bytes, its color table and the byte of LZW's code size
            offset += 11 + _get_gif_table_size(data[offset + 9])
        else:
            offset += 2
        while data[offset]:  # blocks of up to 255 bytes; one of none is the last
            offset += 1 + data[offset]
        offset += 1
    return count


def _get_gif_table_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _GIF_TABLE_FLAG else 0


def _count_pages(data: _ImageBytes) -> int:
    return sum(not flags & _TIFF_NO_IMAGE_FLAGS for flags in iter_tiff_directories(data))


_COUNTERS: dict[str, Callable[[_ImageBytes], int]] = {
    'PNG': _count_png_frames,
    'WebP': _count_webp_frames,
    'GIF': _count_gif_images,
    'TIFF': _count_pages,
}
