"""What the head of a picture file says: format, size and orientation, without decoding, every length checked.

JPEG (ITU T.81, annex B), PNG (ISO 15948), GIF (89a), BMP, WebP (RFC 9649), TIFF (6.0); orientation: EXIF (CIPA DC-008).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Data = bytes | bytearray
Size = tuple[int, int]

JPEG = b'\xff\xd8'
PNG = b'\x89PNG\r\n\x1a\n'
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
SCAN = 0xDA
APP1 = 0xE1
EXIF = b'Exif\0\0'
WIDTH, HEIGHT, ORIENTATION = 256, 257, 274  # tags of TIFF and EXIF
TAGS = 512  # of one directory, at most


def format_of(data: Data) -> str:
    """The name of a file's format by its first bytes, or '' for one that is not read here."""
    return next((name for name, (is_one, _) in FORMATS.items() if is_one(data)), '')


def header_size(data: Data) -> Size | None:
    """(width, height) in pixels from the head of a picture's bytes, or None where it tells nothing."""
    name = format_of(data)
    try:
        size = FORMATS[name][1](data) if name else None
    except (struct.error, IndexError, ValueError):  # it ends within its head
        return None
    return size if size is not None and min(size) > 0 else None


def orientation(data: Data) -> int:
    """How the camera was held, 1 to 8 as EXIF counts; 1, upright, where the file does not say it or says another."""
    try:
        found = tiff_tags(exif(data)).get(ORIENTATION, 1)
    except (struct.error, IndexError, ValueError):
        return 1
    return found if 1 <= found <= 8 else 1


def jpeg_size(data: Data) -> Size | None:
    """(width, height) from the frame header of a JPEG file, or None where there is none."""
    for marker, place in segments(data):
        if marker in FRAMES:
            height, width = struct.unpack_from('>HH', data, place + 5)
            return (width, height) if width and height else None
    return None


def png_size(data: Data) -> Size | None:
    if data[12:16] != b'IHDR':
        return None
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def gif_size(data: Data) -> Size:
    width, height = struct.unpack_from('<HH', data, 6)
    return width, height


def bmp_size(data: Data) -> Size:
    """Of the core header or one of its successors, whose height is negative where rows run downwards."""
    (length,) = struct.unpack_from('<I', data, 14)
    width, height = struct.unpack_from('<HH' if length == 12 else '<ii', data, 18)
    return width, abs(height)


def webp_size(data: Data) -> Size | None:
    """Of the simple, lossless or extended format."""
    kind = bytes(data[12:16])
    if kind == b'VP8X':
        low = [int.from_bytes(data[place : place + 3], 'little') + 1 for place in (24, 27)]
        return low[0], low[1]
    if kind == b'VP8L':
        (bits,) = struct.unpack_from('<I', data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def tiff_size(data: Data) -> Size | None:
    tags = tiff_tags(data)
    return (tags[WIDTH], tags[HEIGHT]) if WIDTH in tags and HEIGHT in tags else None


# Every format that is read: whether bytes are one, and where it says its size
FORMATS: dict[str, tuple[Callable[[Data], bool], Callable[[Data], Size | None]]] = {
    'JPEG': (lambda d: d[:2] == JPEG, jpeg_size),
    'PNG': (lambda d: d[:8] == PNG, png_size),
    'WebP': (lambda d: d[:4] == b'RIFF' and d[8:12] == b'WEBP', webp_size),
    'BMP': (lambda d: d[:2] == b'BM', bmp_size),
    'GIF': (lambda d: d[:6] in (b'GIF87a', b'GIF89a'), gif_size),
    'TIFF': (lambda d: d[:4] in (b'II*\0', b'MM\0*'), tiff_size),
}


def segments(data: Data) -> Iterator[tuple[int, int]]:
    """The marker and the place of every segment of a JPEG file, up to its first scan; none of another file."""
    place = len(JPEG)
    while data.startswith(JPEG) and place + 9 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a marker may have fill bytes before it
            place += 1
            continue
        yield marker, place
        if marker == SCAN:
            return
        place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')


def chunks(data: Data) -> Iterator[tuple[bytes, Data]]:
    """Name and content of the chunks of a PNG or WebP file, up to its pixels or its end."""
    png = data[:8] == PNG
    place = 8 if png else 12
    while place + 8 <= len(data):
        name, length = (bytes(data[place + 4 : place + 8]), data[place : place + 4]) if png else (
            bytes(data[place : place + 4]), data[place + 4 : place + 8])  # fmt: skip
        size = int.from_bytes(length, 'big' if png else 'little')
        yield name, data[place + 8 : place + 8 + size]
        place += size + (12 if png else 8 + size % 2)


def exif(data: Data) -> Data:
    """The EXIF block of a file, laid out as a TIFF file; empty where there is none."""
    name = format_of(data)
    if name == 'TIFF':
        return data
    if name == 'JPEG':
        places = [place + 4 for marker, place in segments(data) if marker == APP1]
        return next((data[p + len(EXIF) :] for p in places if data[p : p + len(EXIF)] == EXIF), b'')
    if name in ('PNG', 'WebP'):
        block = next((content for kind, content in chunks(data) if kind in (b'eXIf', b'EXIF')), b'')
        return block[len(EXIF) :] if block[: len(EXIF)] == EXIF else block
    return b''


def tiff_tags(data: Data) -> dict[int, int]:
    """The value of every tag of the first directory that holds one whole number of 16 or 32 bits."""
    return {tag: struct.unpack_from(kind, data, place)[0] for tag, place, kind in tiff_entries(data)}


def tiff_entries(data: Data) -> Iterator[tuple[int, int, str]]:
    """Tag, place of the value and its type, as `struct` calls it."""
    if data[:4] not in (b'II*\0', b'MM\0*'):
        return
    order = '<' if data[:2] == b'II' else '>'
    (first,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, first)
    for n in range(min(count, TAGS)):
        tag, kind, many = struct.unpack_from(f'{order}HHI', data, first + 2 + 12 * n)
        if kind in (3, 4) and many == 1:
            yield tag, first + 10 + 12 * n, f'{order}{"H" if kind == 3 else "I"}'


def as_stored(data: Data) -> Data:
    """A TIFF file that says it is upright, since decoders turn it whatever they are told; any other file as it is."""
    if format_of(data) != 'TIFF' or orientation(data) == 1:
        return data
    place, kind = next((place, kind) for tag, place, kind in tiff_entries(data) if tag == ORIENTATION)
    upright = bytearray(data)
    struct.pack_into(kind, upright, place, 1)
    return upright
