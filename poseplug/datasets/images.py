"""The one door for pictures: a file becomes (H, W, 3) BGR bytes, or an error that names it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from poseplug.errors import ImageError


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 BGR, its pixels as stored (an EXIF orientation is not applied)."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ImageError(f'{path}: {error.strerror or error}; restore the file') from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(data, flags) if data.size else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f'{path}: {data.size:,} bytes that are not a whole picture; fetch the file again')
    return image
