"""The one door for pictures: a file becomes (H, W, 3) BGR bytes, or an error that names it."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from poseplug.errors import ImageError

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# A JPEG file and its markers (ITU T.81, annex B)
JPEG = b'\xff\xd8'
END = b'\xff\xd9'
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
SEQUENTIAL = (0xC0, 0xC1)  # frames whose rows are coded one after the other
SCAN, RESTARTS = 0xDA, 0xDD
SEVERAL = b'MPF\x00'  # in the head of a file with more than one picture (CIPA DC-007)
MARGIN = 16  # rows: what the decoder takes from beyond the last row that is right
WORTH = 64  # rows that must remain undecoded; a decoder that stops in the last blocks of a file misses its end


class Span(NamedTuple):
    """Where a picture's bytes lie in a larger file, and their checksum."""

    first: int
    length: int
    crc32: int


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 BGR, its pixels as stored (an EXIF orientation is not applied)."""
    return Picture(path).pixels()


class Picture:
    """A picture whose size is known before it is decoded, and of which a JPEG file need not be decoded whole.

    Such a file gives its pixels at 1/2, 1/4 or 1/8, and its upper rows alone, for less. A `shared` picture, which is
    asked for again, is decoded whole nevertheless. With a `span` it is a part of its file.
    """

    def __init__(self, path: Path, shared: bool = False, span: Span | None = None):
        self.path, self.shared = path, shared
        try:
            self.data = path.read_bytes() if span is None else read_span(path, span)
        except OSError as error:
            raise ImageError(f'{path}: {error.strerror or error}; restore the file') from error
        self.decoded: dict[int, np.ndarray] = {}
        self._size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as stored, from the file's head where that is enough."""
        if self._size is None:
            self._size = header_size(self.data) or (self.pixels().shape[1], self.pixels().shape[0])
        return self._size

    @property
    def reducible(self) -> bool:
        """Whether the file can be decoded at a reduced size for less: JPEG can."""
        return self.data.startswith(JPEG)

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """(H, W, 3) uint8 BGR; with a `reduction` r, pixel i stands at `r * i + (r - 1) / 2` of the whole picture."""
        if reduction not in self.decoded:
            self.decoded[reduction] = self._decode(reduction)
        return self.decoded[reduction]

    def upper(self, rows: int, reduction: int = 1) -> np.ndarray:
        """The pixels of the first `rows` rows of the whole picture; there may be more."""
        if reduction in self.decoded or self.shared or rows > self.size[1] - MARGIN - WORTH:
            return self.pixels(reduction)
        shorter = shortened(self.data, rows + MARGIN)
        image = None if shorter is None else decode(shorter, reduction)
        return self.pixels(reduction) if image is None else image

    def _decode(self, reduction: int) -> np.ndarray:
        image = decode(self.data, reduction)
        if image is None:
            raise ImageError(
                f'{self.path}: {len(self.data):,} bytes that are not a whole picture; fetch the file again'
            )
        return image


class Pictures:
    """Pictures by their place, of which the last `keep` stay decoded."""

    def __init__(self, keep: int = 0):
        self.keep, self.kept = keep, dict[tuple[Path, Span | None], Picture]()

    def get(self, path: Path, span: Span | None = None) -> Picture:
        """The picture of a file, or of a part of it; one that is asked for again soon is not decoded again."""
        picture = self.kept.pop((path, span), None) or Picture(path, self.keep > 0, span)
        if self.keep:
            self.kept[path, span] = picture
            while len(self.kept) > self.keep:
                del self.kept[next(iter(self.kept))]
        return picture


def read_span(path: Path, span: Span) -> bytes:
    """The bytes of a part of a file, which must be those that were written."""
    with open(path, 'rb', buffering=0) as file:
        file.seek(span.first)
        data = file.read(span.length) or b''
    if len(data) != span.length or zlib.crc32(data) != span.crc32:
        raise ImageError(
            f'{path}: the {span.length:,} bytes from {span.first:,} are damaged; write the pack anew with '
            f'tools/dataset.py pack'
        )
    return data


def decode(data: bytes | bytearray, reduction: int = 1) -> np.ndarray | None:
    """The pixels (H, W, 3) of a file's bytes, or None where they are not a whole picture."""
    try:
        flags = REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        return None


def header_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the head of a picture's bytes, or None where that tells nothing."""
    return jpeg_size(data) or any_size(data)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the frame header of a JPEG file, or None where there is none."""
    for marker, place in segments(data):
        if marker in FRAMES:
            height, width = (int.from_bytes(data[place + i : place + i + 2], 'big') for i in (5, 7))
            return (width, height) if width and height else None
    return None


def any_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the head of a file in any format that Pillow knows."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception:  # whatever a broken file makes of the reader: decoding will say what is wrong with it
        return None


def segments(data: bytes) -> Iterator[tuple[int, int]]:
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


def shortened(data: bytes, rows: int) -> bytearray | None:
    """A JPEG file's bytes with a frame of `rows` rows, so that a decoder stops there; None where that cannot be.

    It can where one scan holds all components row by row, without restarts, and no other picture follows. The end
    marker is left out: a decoder that finds it behind what it did not read complains.
    """
    places = dict(segments(data))
    frame, scan = next((places[m] for m in SEQUENTIAL if m in places), None), places.get(SCAN)
    if frame is None or scan is None or RESTARTS in places or data[frame + 9] != data[scan + 4]:
        return None
    end = data.rfind(END, scan)
    if end < 0 or data.find(SEVERAL, 0, scan) >= 0:
        return None
    shorter = bytearray(data[:end])
    shorter[frame + 5 : frame + 7] = rows.to_bytes(2, 'big')
    return shorter
