"""Images as callers give them: paths, the bytes of image files, or arrays."""

from __future__ import annotations

__all__ = ['ImageInput', 'NamedImage', 'open_image']

from pathlib import Path
from typing import NamedTuple

import numpy as np

from poseplug.core.errors import ImageError
from poseplug.files.images import read_image, read_image_bytes


class NamedImage(NamedTuple):
    """The pixels of an image that was opened by the caller.

    Attributes:
        path: of its file, or a name for messages.
        pixels: (H, W, 3) uint8, BGR.
    """

    path: Path
    pixels: np.ndarray


ImageInput = str | Path | bytes | np.ndarray | NamedImage


def open_image(image: ImageInput, index: int) -> tuple[Path, np.ndarray]:
    """Load an image from any of the accepted forms.

    Args:
        image: a path, the bytes of an image file, or an array (H, W, 3) of uint8 in BGR order.
        index: position of the image among the caller's images; bytes and arrays are named after it in messages.

    Returns:
        The path (`image INDEX` for bytes and arrays) and the pixels (H, W, 3), uint8, BGR.

    Raises:
        ImageError: the file cannot be read, or the array has another type or shape.
    """
    if isinstance(image, NamedImage):
        return image
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Path(f'image {index}'), read_image_bytes(bytes(image), f'image {index}')
    if isinstance(image, (str, Path)):
        return Path(image), read_image(Path(image))
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f'image {index} is a {type(image).__name__}; give a path, the bytes of a file, or (H, W, 3) of uint8, BGR'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f'image {index} is an array of {image.dtype} {image.shape}; give (H, W, 3) of uint8, in BGR order'
        )
    return Path(f'image {index}'), image
