"""Images of phones in HEIC and AVIF, by Pillow and its plugin for HEIC (extra `heif`)."""

from __future__ import annotations

__all__ = ['HEIF_SUFFIXES', 'convert_heif_image', 'is_heif_image']

import io
from importlib import import_module
from importlib.util import find_spec

import cv2
import numpy as np

from poseplug.core.errors import ImageError
from poseplug.files.image_counts import report_further_images

_HEIC_BRANDS = {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'}
_AVIF_BRANDS = {b'avif', b'avis'}
# What counts as an image in a folder: AVIF, which Pillow reads, and HEIC if its plugin is installed.
HEIF_SUFFIXES = ('.avif', *(('.heic', '.heif', '.hif') if find_spec('pillow_heif') else ()))


def is_heif_image(data: bytes) -> bool:
    """Whether the bytes of a file (its first 12 suffice) are those of a HEIC or AVIF image."""
    return data[4:8] == b'ftyp' and data[8:12] in _HEIC_BRANDS | _AVIF_BRANDS


def convert_heif_image(data: bytes, name: str, max_pixels: int) -> bytes:
    """Decode a HEIC or AVIF image, upright as viewers show it, and store it as a BMP file.

    Args:
        data: the content of the file.
        name: what error messages call it.
        max_pixels: an image with more pixels is refused before it is decoded.

    Raises:
        ImageError: the package that decodes it is missing, the image is damaged or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if data[8:12] in _HEIC_BRANDS:
        _register_heic(name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f'{name}: {image.width:,} x {image.height:,} px are more than the {max_pixels:,} that are decoded; '
                    f'make it smaller'
                )
            if getattr(image, 'n_frames', 1) > 1:
                report_further_images(name, image.format or 'HEIC')
            # Upright here, because the BMP file that it becomes has no EXIF.
            pixels = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    except UnidentifiedImageError:
        raise ImageError(
            f'{name}: this AVIF or HEIC file cannot be read; fetch it again, or update Pillow (11.3 reads AVIF)'
        ) from None
    except (OSError, ValueError, RuntimeError, SyntaxError, EOFError) as error:
        raise ImageError(f'{name}: {len(data):,} bytes that are not a whole image ({error}); fetch it again') from None
    # BMP is stored without loss or compression, and `LazyImage` reads it like any other file.
    return cv2.imencode('.bmp', pixels[..., ::-1])[1].tobytes()


def _register_heic(name: str) -> None:
    """Let Pillow read HEIC."""
    try:
        plugin = import_module('pillow_heif')
    except ImportError:
        raise ImageError(
            f"{name} is a HEIC image, which needs the package pillow-heif; pip install 'poseplug[heif]', or convert it"
        ) from None
    plugin.register_heif_opener()
