"""Where an image is stored: a file, or a range of bytes in one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ByteRange(NamedTuple):
    """The bytes of an image within a larger file.

    Attributes:
        offset: of the first byte.
        length: the number of bytes.
        crc32: the checksum of these bytes.
    """

    offset: int
    length: int
    crc32: int


class ImageLocation(NamedTuple):
    """The file of an image, or the bytes of a larger file that hold it.

    Attributes:
        path: the file.
        byte_range: the part of the file that is the image; None: the whole file.
    """

    path: Path
    byte_range: ByteRange | None = None

    @property
    def name(self) -> str:
        """The name of the file; for a part of it, also the offset of its first byte."""
        return self.path.name if self.byte_range is None else f'{self.path.name} at {self.byte_range.offset:,}'

    def __str__(self) -> str:
        return str(self.path.with_name(self.name))
