"""Reads format, size and orientation from the header of an image file, without decoding; every length is checked.

JPEG (ITU T.81, annex B), PNG (ISO 15948), GIF (89a), BMP, WebP (RFC 9649), TIFF (6.0); orientation: EXIF (CIPA DC-008).
Pillow is not used: size and orientation of an image of LSP-extended take it 150 us, and 28 us here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

_ImageBytes = bytes | bytearray
_ImageSize = tuple[int, int]

JPEG_SIGNATURE = b'\xff\xd8'
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
_JPEG_FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without Huffman tables, extensions, arithmetic coding
_JPEG_SCAN_MARKER = 0xDA
_JPEG_END_MARKER = b'\xff\xd9'
_SEQUENTIAL_FRAME_MARKERS = (0xC0, 0xC1)  # frames whose rows are coded one after the other
_RESTART_INTERVAL_MARKER = 0xDD
_MPF_PREFIX = b'MPF\x00'  # in the header of a file with more than one image (CIPA DC-007)
_JPEG_APP1_MARKER = 0xE1
_EXIF_PREFIX = b'Exif\0\0'
_SUBFILE_TAG, _WIDTH_TAG, _HEIGHT_TAG, _ORIENTATION_TAG = 254, 256, 257, 274  # tags of TIFF and EXIF
_TIFF_VALUE_FORMATS = {3: 'H', 4: 'I'}  # field types of one 16 or 32 bit integer, as `struct` calls them
_MAX_DIRECTORY_TAGS = 512  # a damaged directory may state 65,535


def detect_image_format(data: _ImageBytes) -> str:
    """Return the name of a file's format by its first bytes.

    Args:
        data: the content of a file, or its first 12 bytes.

    Returns:
        'JPEG', 'PNG', ...; '' for a format that is not read.

    Example:
        >>> detect_image_format(b'GIF89a')
        'GIF'
    """
    return next((name for name, (is_format, _) in IMAGE_FORMATS.items() if is_format(data)), '')


def read_header_size(data: _ImageBytes) -> _ImageSize | None:
    """Read the size that an image file's header states.

    Args:
        data: the content of an image file.

    Returns:
        (width, height) in px; None if the header is of no known format, damaged or cut.
    """
    name = detect_image_format(data)
    try:
        size = IMAGE_FORMATS[name][1](data) if name else None
    except (struct.error, IndexError, ValueError):  # the file ends within its header
        return None
    return size if size is not None and min(size) > 0 else None


def read_orientation(data: _ImageBytes) -> int:
    """Read how the camera was held.

    Args:
        data: the content of an image file.

    Returns:
        1 to 8 as EXIF defines it; 1, upright, if the file says nothing or anything else.
    """
    try:
        orientation = _read_tiff_tags(_find_exif_block(data)).get(_ORIENTATION_TAG, 1)
    except (struct.error, IndexError, ValueError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def read_jpeg_size(data: _ImageBytes) -> _ImageSize | None:
    """Read the size from the frame header of a JPEG file.

    Args:
        data: the content of a JPEG file.

    Returns:
        (width, height) in px; None if there is no frame header.
    """
    for marker, offset in iter_jpeg_segments(data):
        if marker in _JPEG_FRAME_MARKERS:
            # Marker (2), length (2), bits per sample (1), then rows before columns.
            height, width = struct.unpack_from('>HH', data, offset + 5)
            return (width, height) if width and height else None
    return None


def _read_png_size(data: _ImageBytes) -> _ImageSize | None:
    if data[12:16] != b'IHDR':
        return None
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def _read_gif_size(data: _ImageBytes) -> _ImageSize:
    width, height = struct.unpack_from('<HH', data, 6)
    return width, height


def _read_bmp_size(data: _ImageBytes) -> _ImageSize:
    """Read the size from the core header (12 bytes) or a later one, whose height is negative for rows from the top."""
    (length,) = struct.unpack_from('<I', data, 14)
    # The core header of OS/2 has unsigned numbers of 16 bits.
    width, height = struct.unpack_from('<HH' if length == 12 else '<ii', data, 18)
    return width, abs(height)


def _read_webp_size(data: _ImageBytes) -> _ImageSize | None:
    """Read the size from the extended, lossless or simple format."""
    chunk_name = bytes(data[12:16])
    if chunk_name == b'VP8X':
        width, height = (int.from_bytes(data[offset : offset + 3], 'little') + 1 for offset in (24, 27))
        return width, height
    if chunk_name == b'VP8L':
        # Lossless: a signature byte, then width - 1 and height - 1 in 14 bits each.
        (bits,) = struct.unpack_from('<I', data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk_name == b'VP8 ':
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits are a scale for display
    return None


def _read_tiff_size(data: _ImageBytes) -> _ImageSize | None:
    tags = _read_tiff_tags(data)
    return (tags[_WIDTH_TAG], tags[_HEIGHT_TAG]) if _WIDTH_TAG in tags and _HEIGHT_TAG in tags else None


# Every format that is read: a test of the first bytes, and the reader of its size
IMAGE_FORMATS: dict[str, tuple[Callable[[_ImageBytes], bool], Callable[[_ImageBytes], _ImageSize | None]]] = {
    'JPEG': (lambda d: d[:2] == JPEG_SIGNATURE, read_jpeg_size),
    'PNG': (lambda d: d[:8] == _PNG_SIGNATURE, _read_png_size),
    'WebP': (lambda d: d[:4] == b'RIFF' and d[8:12] == b'WEBP', _read_webp_size),
    'BMP': (lambda d: d[:2] == b'BM', _read_bmp_size),
    'GIF': (lambda d: d[:6] in (b'GIF87a', b'GIF89a'), _read_gif_size),
    'TIFF': (lambda d: d[:4] in (b'II*\0', b'MM\0*'), _read_tiff_size),
}


def iter_jpeg_segments(data: _ImageBytes) -> Iterator[tuple[int, int]]:
    """Iterate over the segments of a JPEG file, up to its first scan.

    Args:
        data: the content of an image file.

    Yields:
        (marker, offset of the segment) of every segment; nothing for another file.
    """
    offset = len(JPEG_SIGNATURE)
    while data.startswith(JPEG_SIGNATURE) and offset + 9 < len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # a marker may have fill bytes before it
            offset += 1
            continue
        yield marker, offset
        if marker == _JPEG_SCAN_MARKER:
            return
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], 'big')


def truncate_jpeg(data: _ImageBytes, num_rows: int) -> bytearray | None:
    """Change the header of a JPEG file so that a decoder stops after some rows.

    That is possible if one scan holds all components row by row, without restarts, and no other image follows.

    Args:
        data: the content of an image file.
        num_rows: the height to write into the header, in px.

    Returns:
        The changed file; None if it is not a JPEG file of this kind.
    """
    offsets = dict(iter_jpeg_segments(data))
    frames = [offsets[m] for m in _SEQUENTIAL_FRAME_MARKERS if m in offsets]
    scan = offsets.get(_JPEG_SCAN_MARKER)
    if not frames or scan is None or _RESTART_INTERVAL_MARKER in offsets:
        return None
    frame = frames[0]
    # Several scans hold one component after the other: the first rows of all are spread over the file.
    if data[frame + 9] != data[scan + 4]:  # the number of components in the frame and in the scan
        return None
    end = data.rfind(_JPEG_END_MARKER, scan)
    # The end marker that was found could be that of a second image, such as a depth map.
    if end < 0 or data.find(_MPF_PREFIX, 0, scan) >= 0:
        return None
    # Without the end marker: a decoder that finds it behind data that it did not read writes a warning.
    truncated = bytearray(data[:end])
    truncated[frame + 5 : frame + 7] = num_rows.to_bytes(2, 'big')
    return truncated


def iter_chunks(data: _ImageBytes) -> Iterator[tuple[bytes, _ImageBytes]]:
    """Yield name and content of every chunk of a PNG or WebP file, given by its bytes."""
    is_png = data[:8] == _PNG_SIGNATURE
    offset = 8 if is_png else 12
    while offset + 8 <= len(data):
        first, second = data[offset : offset + 4], data[offset + 4 : offset + 8]
        name, length = (second, first) if is_png else (first, second)
        size = int.from_bytes(length, 'big' if is_png else 'little')
        yield bytes(name), data[offset + 8 : offset + 8 + size]
        # A chunk of PNG ends with a checksum of 4 bytes; one of WebP is padded to an even size.
        offset += 8 + size + (4 if is_png else size % 2)


def _find_exif_block(data: _ImageBytes) -> _ImageBytes:
    """Return the EXIF block of a file, which has the layout of a TIFF file; empty if there is none."""
    name = detect_image_format(data)
    if name == 'TIFF':
        return data
    if name == 'JPEG':
        for marker, offset in iter_jpeg_segments(data):
            if marker == _JPEG_APP1_MARKER and data.startswith(_EXIF_PREFIX, offset + 4):
                return data[offset + 4 + len(_EXIF_PREFIX) :]
        return b''
    if name in ('PNG', 'WebP'):
        block = next((content for chunk, content in iter_chunks(data) if chunk in (b'eXIf', b'EXIF')), b'')
        return block[len(_EXIF_PREFIX) :] if block.startswith(_EXIF_PREFIX) else block
    return b''


def _read_tiff_tags(data: _ImageBytes) -> dict[int, int]:
    """Return every tag of the first directory that has one integer of 16 or 32 bits, with its value."""
    return {tag: struct.unpack_from(fmt, data, offset)[0] for tag, offset, fmt in _iter_tiff_entries(data)}


def _iter_tiff_entries(data: _ImageBytes) -> Iterator[tuple[int, int, str]]:
    """Yield tag, offset of the value and its format, as `struct` calls it."""
    if data[:4] not in (b'II*\0', b'MM\0*'):
        return
    byte_order = '<' if data[:2] == b'II' else '>'
    (first,) = struct.unpack_from(f'{byte_order}I', data, 4)
    yield from _iter_directory_entries(data, first, byte_order)


def _iter_directory_entries(data: _ImageBytes, first: int, byte_order: str) -> Iterator[tuple[int, int, str]]:
    """As `_iter_tiff_entries`, of the directory at an offset."""
    (count,) = struct.unpack_from(f'{byte_order}H', data, first)
    for n in range(min(count, _MAX_DIRECTORY_TAGS)):
        tag, field_type, num_values = struct.unpack_from(f'{byte_order}HHI', data, first + 2 + 12 * n)
        # A single number stands in the entry itself, where a list would have its offset.
        if field_type in _TIFF_VALUE_FORMATS and num_values == 1:
            yield tag, first + 10 + 12 * n, byte_order + _TIFF_VALUE_FORMATS[field_type]


def iter_tiff_directories(data: _ImageBytes) -> Iterator[int]:
    """Iterate over the directories of a TIFF file, one for each page.

    Args:
        data: the content of a TIFF file.

    Yields:
        Tag 254 of each (NewSubfileType): 0 for a page of its own, 1 a smaller version, 4 a mask; 0 if it has none.
    """
    byte_order = '<' if data[:2] == b'II' else '>'
    visited: set[int] = set()
    (first,) = struct.unpack_from(f'{byte_order}I', data, 4)
    while first and first not in visited:  # damage may lead back to an earlier one
        visited.add(first)
        entries = _iter_directory_entries(data, first, byte_order)
        yield next((struct.unpack_from(fmt, data, at)[0] for tag, at, fmt in entries if tag == _SUBFILE_TAG), 0)
        (count,) = struct.unpack_from(f'{byte_order}H', data, first)
        (first,) = struct.unpack_from(f'{byte_order}I', data, first + 2 + 12 * count)


def reset_tiff_orientation(data: _ImageBytes) -> _ImageBytes:
    """Mark a TIFF file as upright, since decoders rotate it by its orientation whatever they are told.

    Args:
        data: the content of an image file.

    Returns:
        The changed TIFF file; any other file as it is.
    """
    if detect_image_format(data) != 'TIFF' or read_orientation(data) == 1:
        return data
    entries = _iter_tiff_entries(data)
    offset, value_format = next((offset, fmt) for tag, offset, fmt in entries if tag == _ORIENTATION_TAG)
    upright = bytearray(data)
    struct.pack_into(value_format, upright, offset, 1)
    return upright
