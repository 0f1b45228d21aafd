"""The one door for pictures: a file becomes (H, W, 3) BGR bytes, or an error that names it.

What becomes of every kind of file is told in docs/bad_input.md.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from poseplug.datasets.image_heads import FORMATS, JPEG, SCAN, as_stored, format_of, header_size, orientation, segments
from poseplug.errors import ImageError

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

MOST_PIXELS = 100_000_000  # of a picture: 300 MB of bytes once it is decoded

# A JPEG file and its markers (ITU T.81, annex B)
END = b'\xff\xd9'
SEQUENTIAL = (0xC0, 0xC1)  # frames whose rows are coded one after the other
RESTARTS = 0xDD
SEVERAL = b'MPF\x00'  # in the head of a file with more than one picture (CIPA DC-007)
MARGIN = 16  # rows: what the decoder takes from beyond the last row that is right
WORTH = 64  # rows that must remain undecoded; a decoder that stops in the last blocks of a file misses its end


class Span(NamedTuple):
    """Where a picture's bytes lie in a larger file, and their checksum."""

    first: int
    length: int
    crc32: int


class Place(NamedTuple):
    """Where a picture lies: a file, or a part of one."""

    path: Path
    span: Span | None = None

    @property
    def name(self) -> str:
        """The file's name, and where in it the picture begins if it is a part."""
        return self.path.name if self.span is None else f'{self.path.name} at {self.span.first:,}'

    def __str__(self) -> str:
        return str(self.path.with_name(self.name))


def read_image(path: Path, upright: bool = False, span: Span | None = None) -> np.ndarray:
    """A picture as (H, W, 3) uint8 BGR: its pixels as stored, or `upright`, turned as its EXIF orientation says.

    With a `span` it is a part of the file.

    Annotations are of pixels as stored.
    """
    return as_held(Picture(path, span=span), upright)


def image_of(data: bytes, name: str = 'bytes', upright: bool = False) -> np.ndarray:
    """As `read_image`, of a file's bytes that are in memory; `name` is what an error calls them."""
    return as_held(Picture(Path(name), data=data), upright)


def as_held(picture: Picture, upright: bool) -> np.ndarray:
    """A picture's pixels as stored, or turned upright."""
    return turned(picture.pixels(), orientation(picture.data)) if upright else picture.pixels()


def turned(image: np.ndarray, held: int) -> np.ndarray:
    """An image (H, W, ...) turned from how the camera was held, 1 to 8 as EXIF counts, to upright."""
    if held > 4:
        image = image.swapaxes(0, 1)
    down, across = (-1 if held in flips else 1 for flips in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(image[::down, ::across])


class Picture:
    """A picture whose size is known before it is decoded, and of which a JPEG file need not be decoded whole.

    Such a file gives its pixels at 1/2, 1/4 or 1/8, and its upper rows alone, for less. A `shared` picture, which is
    asked for again, is decoded whole nevertheless. With a `span` it is a part of its file; with `data` no file is
    read, and `path` is but a name.
    """

    def __init__(self, path: Path, shared: bool = False, span: Span | None = None, data: bytes | None = None):
        self.path, self.shared = path, shared
        try:
            self.data = data if data is not None else path.read_bytes() if span is None else read_span(path, span)
        except OSError as error:
            raise ImageError(f'{path}: {error.strerror or error}; restore the file') from error
        self.decoded: dict[int, np.ndarray] = {}
        self._size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as stored, from the file's head."""
        if self._size is None:
            self._size = self._stated()
        return self._size

    def _stated(self) -> tuple[int, int]:
        """The size that the file's head states, of a picture that may be decoded."""
        size = header_size(self.data)
        if size is None:
            unknown = self.data and not format_of(self.data)
            raise self._broken(f', or convert it: read are {", ".join(FORMATS)}' if unknown else '')
        if size[0] * size[1] > MOST_PIXELS:
            raise ImageError(
                f'{self.path}: {size[0]:,} x {size[1]:,} px are more than the {MOST_PIXELS:,} that are decoded; '
                f'make it smaller'
            )
        return size

    def _broken(self, remedy: str = '') -> ImageError:
        size = len(self.data)
        return ImageError(f'{self.path}: {size:,} bytes that are not a whole picture; fetch the file again{remedy}')

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
        width, height = self.size
        image = decode(as_stored(self.data), reduction)
        if image is None or (reduction == 1 and image.shape != (height, width, 3)):
            raise self._broken()
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
