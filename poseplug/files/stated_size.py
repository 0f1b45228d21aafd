"""Checks the size of an image: that which annotations state, where its orientation may explain a difference."""

from __future__ import annotations

from poseplug.core.errors import ImageError
from poseplug.files.images import LazyImage

_Size = tuple[int, int]
_MIN_SIDE_PX = 2  # between the pixels of a single row or column nothing can be interpolated


def describe_size_difference(image: LazyImage, stated_size: _Size | None) -> str:
    """Describe how an image's size differs from the stated one.

    Args:
        image: the image file; its header is read.
        stated_size: (width, height) in px that annotations state; None where they state none.

    Returns:
        Both sizes and the likely cause; '' if they are equal, or none is stated.

    Raises:
        ImageError: the header is damaged.
    """
    size = image.size
    if stated_size is None or size == stated_size:
        return ''
    cause = ''
    if size == stated_size[::-1]:
        cause = ' (rotated?)'
        if image.orientation > 4:
            # Turning these pixels would be a guess: some tools write the upright size and label stored pixels.
            cause = f' (EXIF orientation {image.orientation} shows it at the stated size; save it upright)'
    return f'{stated_size[0]} x {stated_size[1]} px are stated, the file has {size[0]} x {size[1]}{cause}'


def check_stated_size(image: LazyImage, stated_size: _Size | None) -> None:
    """Check that an image has the size that its annotations state: else these are at wrong positions.

    Args:
        image: as in `describe_size_difference`.
        stated_size: as in `describe_size_difference`.

    Raises:
        ImageError: the sizes differ, or the header is damaged.
    """
    difference = describe_size_difference(image, stated_size)
    if difference:
        raise ImageError(f'{image.path}: {difference}. Fetch the image that belongs to the annotations')


def is_orientation_ambiguous(size: _Size, orientation: int, stated_size: _Size | None) -> bool:
    """Whether labels may mean upright pixels although data sets read stored ones.

    Args:
        size: (width, height) in px as stored.
        orientation: 1 to 8 as EXIF defines it.
        stated_size: (width, height) in px that annotations state; None where they state none.

    Returns:
        False for an upright image, and where the stated size is that of one of the two alone.

    Example:
        >>> is_orientation_ambiguous((100, 80), 3, (100, 80)), is_orientation_ambiguous((100, 80), 6, (100, 80))
        (True, False)
    """
    keeps_size = orientation <= 4 or size[0] == size[1]
    return orientation != 1 and (keeps_size or stated_size is None)


def check_min_image_size(name: object, size: _Size) -> None:
    """Check that an image is large enough to be cropped: one rule for data sets and all predictors.

    Args:
        name: the path of the image, or what messages call it.
        size: (width, height) in px.

    Raises:
        ImageError: the image is only one pixel wide or high.
    """
    if min(size) < _MIN_SIDE_PX:
        width, height = size
        raise ImageError(f'{name}: the image has {width}x{height} px; 2x2 px are required. Fetch it again')
