"""Pictures as callers give them: paths, the bytes of files, or pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poseplug.datasets.images import image_of, read_image
from poseplug.errors import ImageError

Image = str | Path | bytes | np.ndarray


def opened(image: Image, place: int) -> tuple[Path, np.ndarray]:
    """Path and pixels (H, W, 3) of a picture; bytes and arrays are called after their place."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Path(f'picture {place}'), image_of(bytes(image), f'picture {place}')
    if isinstance(image, (str, Path)):
        return Path(image), read_image(Path(image))
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f'picture {place} is a {type(image).__name__}; give a path, the bytes of a file, or (H, W, 3) of uint8, BGR'
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f'picture {place} is an array of {image.dtype} {image.shape}; give (H, W, 3) of uint8, in BGR order'
        )
    return Path(f'picture {place}'), image
