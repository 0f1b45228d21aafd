"""Reads image files as (H, W, 3) BGR bytes, or raises an error that names the file.

Every image of the package comes through this module. docs/reference/messages.md lists the outcome of each kind of file.
"""

from __future__ import annotations

import zlib
from io import FileIO
from pathlib import Path

import cv2
import numpy as np

from poseplug.core.errors import ImageError
from poseplug.core.location import ByteRange
from poseplug.files.heif_images import HEIF_SUFFIXES, convert_heif_image, is_heif_image
from poseplug.files.image_counts import has_several_images, report_further_images
from poseplug.files.image_headers import (
    IMAGE_FORMATS,
    JPEG_SIGNATURE,
    detect_image_format,
    read_header_size,
    read_orientation,
    reset_tiff_orientation,
    truncate_jpeg,
)
from poseplug.files.shard_cache import restore_shard

# Suffixes of the formats that are read (`IMAGE_FORMATS`): those files of a folder are images
IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.jif', '.pjpeg', '.pjp', '.mpo'),
    *('.png', '.apng', '.webp', '.bmp', '.dib', '.gif', '.tif', '.tiff'),
    *HEIF_SUFFIXES,
)
REDUCED_DECODE_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

_MAX_RESTORED = 3  # times that a shard is fetched for one image: a cache that is too small deletes it again
MAX_IMAGE_PIXELS = 100_000_000  # 300 MB once decoded; a few hundred KB can state far more

_EXTRA_ROWS = 16  # the decoder takes from so many rows beyond the last one that must be right
# Rows that must remain undecoded: a decoder that stops in the last blocks of a file complains of a missing end.
_MIN_UNDECODED_ROWS = 64


def read_image(path: Path, apply_exif: bool = True, byte_range: ByteRange | None = None) -> np.ndarray:
    """Read an image file.

    Args:
        path: the file.
        apply_exif: rotate and flip the image upright as its EXIF orientation says and viewers show it; False for the
            pixels as stored, which most annotation files mean.
        byte_range: the part of the file that is the image; None for the whole file.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the file cannot be read, or is not a whole image.
    """
    return _get_oriented_pixels(LazyImage(path, byte_range=byte_range), apply_exif)


def read_image_bytes(data: bytes, name: str = 'bytes', apply_exif: bool = True) -> np.ndarray:
    """Read an image from the bytes of its file.

    Args:
        data: the content of an image file.
        name: what error messages call the image.
        apply_exif: as in `read_image`.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: the bytes are not a whole image.
    """
    return _get_oriented_pixels(LazyImage(name, data=data), apply_exif)


def _get_oriented_pixels(image: LazyImage, apply_exif: bool) -> np.ndarray:
    if has_several_images(image.data):
        report_further_images(str(image.path), detect_image_format(image.data))
    pixels = image.get_pixels()
    return apply_orientation(pixels, image.orientation) if apply_exif else pixels


def apply_orientation(image: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and flip an image upright.

    Args:
        image: (H, W, ...) as stored.
        orientation: how the camera was held, 1 (upright) to 8, as EXIF defines it.

    Returns:
        The upright image; 5 to 8 exchange height and width.

    Example:
        >>> apply_orientation(np.array([[0, 1, 2], [3, 4, 5]]), 6).tolist()
        [[3, 0], [4, 1], [5, 2]]
    """
    # 5 to 8 are 1 to 4 with rows and columns exchanged.
    if orientation > 4:
        image = image.swapaxes(0, 1)
    row_step = -1 if orientation in (3, 4, 7, 8) else 1
    column_step = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::row_step, ::column_step])


class LazyImage:
    """An image whose size is known before it is decoded, and of which a JPEG file can be decoded in part.

    A JPEG file is decoded for less at 1/2, 1/4 or 1/8 of its size, or its top rows alone.

    Args:
        path: the image file; only a name for error messages if `data` is given.
        decode_full: decode all rows even where a few would do, because the image is used again.
        byte_range: the part of the file that is the image; None for the whole file.
        data: the content of the image file, instead of reading `path`.

    Attributes:
        data: the content of the image file; of a HEIC or AVIF file its pixels, upright, as a BMP file.
        pixels_by_reduction: (H, W, 3) uint8 BGR of all rows, by the reduction at which they were decoded.

    Raises:
        ImageError: the file cannot be read, or the bytes of `byte_range` are not those that were written.
    """

    def __init__(
        self,
        path: Path | str,
        decode_full: bool = False,
        byte_range: ByteRange | None = None,
        data: bytes | None = None,
    ):
        # not a `Path` where it is a name: that makes one slash of the two of an address
        self.path, self.decode_full = path, decode_full
        self.data = read_image_file_bytes(Path(path), byte_range) if data is None else data
        if is_heif_image(self.data):
            self.data = convert_heif_image(self.data, str(path), MAX_IMAGE_PIXELS)
        self.pixels_by_reduction: dict[int, np.ndarray] = {}
        self._size: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px as stored, from the file's header.

        Raises:
            ImageError: the header is damaged, or the image has more than 100 million pixels.
        """
        if self._size is None:
            self._size = self._read_header_size()
        return self._size

    @property
    def orientation(self) -> int:
        """The EXIF orientation, from 1 (upright) to 8; the pixels are those as stored."""
        return read_orientation(self.data)

    def _read_header_size(self) -> tuple[int, int]:
        """Read the size that the header states, and refuse an image that is too large to decode."""
        size = read_header_size(self.data)
        if size is None:
            is_unknown = bool(self.data) and not detect_image_format(self.data)
            formats = ', '.join(IMAGE_FORMATS)
            raise self._damaged_error(f', or convert it to one of {formats}' if is_unknown else '')
        if size[0] * size[1] > MAX_IMAGE_PIXELS:
            raise ImageError(
                f'{self.path}: {size[0]:,} x {size[1]:,} px are more than the {MAX_IMAGE_PIXELS:,} that are decoded; '
                f'make it smaller'
            )
        return size

    def _damaged_error(self, remedy: str = '') -> ImageError:
        size = len(self.data)
        return ImageError(f'{self.path}: {size:,} bytes that are not a whole image; fetch the file again{remedy}')

    @property
    def supports_reduction(self) -> bool:
        """Whether the file can be decoded at a reduced size for less time, as JPEG can."""
        return self.data.startswith(JPEG_SIGNATURE)

    def get_pixels(self, reduction: int = 1) -> np.ndarray:
        """Return all pixels, decoded on the first call.

        Args:
            reduction: 1, 2, 4 or 8 for the whole size or a fraction of it. Pixel i of an image reduced by r has its
                center at `r * i + (r - 1) / 2` of the whole one.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            ImageError: the file is not a whole image, or its header and its pixels contradict each other.
        """
        if reduction not in self.pixels_by_reduction:
            self.pixels_by_reduction[reduction] = self._decode_pixels(reduction)
        return self.pixels_by_reduction[reduction]

    def get_top_rows(self, num_rows: int, reduction: int = 1) -> np.ndarray:
        """Return the pixels of the top rows, without decoding those below if the file allows it.

        Args:
            num_rows: rows of the whole image, counted before any reduction.
            reduction: as in `get_pixels`.

        Returns:
            (H, W, 3) uint8 BGR, these rows and possibly more. The pixels are those of `get_pixels`.

        Raises:
            ImageError: the file is not an image. Damage below the rows stays unnoticed.
        """
        is_decoded = reduction in self.pixels_by_reduction
        if is_decoded or self.decode_full or num_rows > self.size[1] - _EXTRA_ROWS - _MIN_UNDECODED_ROWS:
            return self.get_pixels(reduction)
        # Measured on 60 images of COCO: 2.1 ms for half of the rows and 3.0 ms for three quarters, 3.7 ms for all.
        truncated = truncate_jpeg(self.data, num_rows + _EXTRA_ROWS)
        image = None if truncated is None else decode_image(truncated, reduction)
        return self.get_pixels(reduction) if image is None else image

    def _decode_pixels(self, reduction: int) -> np.ndarray:
        width, height = self.size
        # OpenCV ignores the orientation of all formats but TIFF on request.
        image = decode_image(reset_tiff_orientation(self.data), reduction)
        if image is None or (reduction == 1 and image.shape != (height, width, 3)):
            self._check_samples()
            raise self._damaged_error()
        return image

    def _check_samples(self) -> None:
        """Refuse a whole image of numbers that have no white, as TIFF files of measurements, by another message."""
        samples = decode_image(self.data, flags=cv2.IMREAD_UNCHANGED)
        if samples is not None and samples.dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f'{self.path}: its values are {samples.dtype}, of which none is known to be white; convert it to 8 or '
                f'16 bits, or predict its array by ImageArray(array, order=..., max_value=...)'
            )


class ImageCache:
    """Images by location, of which the most recently used stay decoded in memory.

    Args:
        max_images: number of images to keep; 0 keeps none.
    """

    def __init__(self, max_images: int = 0):
        self.max_images, self.images = max_images, dict[tuple[Path, ByteRange | None], LazyImage]()

    def get_image(self, path: Path, byte_range: ByteRange | None = None) -> LazyImage:
        """Return the image at a location, and keep it.

        Args:
            path: the image file.
            byte_range: the part of the file that is the image; None for the whole file.

        Raises:
            ImageError: the file cannot be read.
        """
        image = self.images.pop((path, byte_range), None) or LazyImage(path, self.max_images > 0, byte_range)
        if self.max_images:
            # A dict keeps the order of insertion: the first entry is the one used longest ago.
            self.images[path, byte_range] = image
            while len(self.images) > self.max_images:
                del self.images[next(iter(self.images))]
        return image


def read_image_file_bytes(path: Path, byte_range: ByteRange | None = None) -> bytes:
    """Read an image file, or a part of a larger file whose bytes must be those that were written.

    Args:
        path: the file; one of a cache of shards is fetched if it is not there.
        byte_range: the part of the file that is the image; None for the whole file.

    Raises:
        ImageError: the file cannot be read, or the bytes are damaged.
    """
    try:
        if byte_range is None:
            return path.read_bytes()
        with _open_part_file(path) as file:
            file.seek(byte_range.offset)
            data = file.read(byte_range.length) or b''
    except OSError as error:
        cause = error.strerror or error
        raise ImageError(f'{path}: {cause}; check its path, or restore the file') from error
    # Checked at every read: a pack may lie on a disk that changed it since it was written.
    if len(data) != byte_range.length or zlib.crc32(data) != byte_range.crc32:
        raise ImageError(
            f'{path}: the {byte_range.length:,} bytes from {byte_range.offset:,} are damaged; fetch the file again, or '
            f'write the pack anew with poseplug dataset pack'
        )
    return data


def _open_part_file(path: Path) -> FileIO:
    """Open a file that holds many images; a shard that another process deleted from the cache is fetched again."""
    for _ in range(_MAX_RESTORED):
        try:
            return open(path, 'rb', buffering=0)
        except FileNotFoundError:
            if not restore_shard(path):
                raise
    return open(path, 'rb', buffering=0)


def decode_image(data: bytes | bytearray, reduction: int = 1, flags: int | None = None) -> np.ndarray | None:
    """Decode the bytes of an image file, with the pixels as stored.

    Args:
        data: the content of an image file.
        reduction: 1, 2, 4 or 8 for the whole size or a fraction of it.
        flags: of OpenCV, instead of those of a color image.

    Returns:
        (H, W, 3) uint8 BGR without `flags`; None if the bytes are not a whole image.
    """
    if not data:
        return None
    if flags is None:
        flags = REDUCED_DECODE_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
