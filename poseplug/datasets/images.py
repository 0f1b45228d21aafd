"""The one door for pictures: a file becomes (H, W, 3) BGR bytes, or an error that names it."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np

from poseplug.errors import ImageError

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 BGR, its pixels as stored (an EXIF orientation is not applied)."""
    return Picture(path).pixels()


class Picture:
    """A picture whose size is known before it is decoded, and which a JPEG file gives at 1/2, 1/4 or 1/8 too."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.data = np.fromfile(path, dtype=np.uint8)
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
        return self.data[:2].tolist() == [0xFF, 0xD8]

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """(H, W, 3) uint8 BGR; with a `reduction` r, pixel i stands at `r * i + (r - 1) / 2` of the whole picture."""
        if reduction not in self.decoded:
            self.decoded[reduction] = self._decode(REDUCED[reduction])
        return self.decoded[reduction]

    def _decode(self, flags: int) -> np.ndarray:
        try:
            image = cv2.imdecode(self.data, flags | cv2.IMREAD_IGNORE_ORIENTATION) if self.data.size else None
        except cv2.error:
            image = None
        if image is None:
            raise ImageError(
                f'{self.path}: {self.data.size:,} bytes that are not a whole picture; fetch the file again'
            )
        return image


class Pictures:
    """Pictures by their path, of which the last `keep` stay decoded."""

    def __init__(self, keep: int = 0):
        self.keep, self.kept = keep, dict[Path, Picture]()

    def get(self, path: Path) -> Picture:
        """The picture of a file; one that is asked for again soon is not decoded again."""
        picture = self.kept.pop(path, None) or Picture(path)
        if self.keep:
            self.kept[path] = picture
            while len(self.kept) > self.keep:
                del self.kept[next(iter(self.kept))]
        return picture


def header_size(data: np.ndarray) -> tuple[int, int] | None:
    """(width, height) from the head of a picture's bytes, or None where that tells nothing."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            return image.size
    except Exception:  # whatever a broken file makes of the reader: decoding will say what is wrong with it
        return None
