"""The warp of an image into an input by one matrix, from pixels that were decoded at full or at reduced size."""

from __future__ import annotations

__all__ = ['choose_reduction', 'reduced_to_full_matrix', 'warp_image']

from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.core.geometry import Size, scale_of_matrix, scaling_matrix, translation_matrix
from poseplug.files.images import REDUCED_DECODE_FLAGS


def choose_reduction(image_to_inputs: Sequence[np.ndarray]) -> int:
    """Choose the strongest reduction of an image that no view then enlarges.

    Args:
        image_to_inputs: (3, 3) matrices from image to input pixels, one per view.

    Returns:
        1, 2, 4 or 8.
    """
    # A view that enlarges even the full image has no use for a reduced one.
    largest_scale = max(scale_of_matrix(m) for m in image_to_inputs)
    return max(r for r in REDUCED_DECODE_FLAGS if r == 1 or r * largest_scale <= 1)


def reduced_to_full_matrix(reduction: int) -> np.ndarray:
    """Return the matrix from the pixels of a reduced image to those of the full one.

    A reduced pixel is the mean of a block, so its center is that of the block.

    Args:
        reduction: 1, 2, 4 or 8.

    Returns:
        (3, 3).
    """
    return translation_matrix((reduction - 1) / 2, (reduction - 1) / 2) @ scaling_matrix(reduction)


def warp_image(
    image: np.ndarray,
    image_to_input: np.ndarray,
    input_size: Size,
    interpolation: int = cv2.INTER_LINEAR,
    fill_color: Sequence[int] = (128, 128, 128),
) -> np.ndarray:
    """Warp an image into an input.

    Args:
        image: (H, W, 3) uint8.
        image_to_input: (3, 3) matrix from image to input pixels.
        input_size: (width, height) of the input in px.
        interpolation: OpenCV's interpolation flag.
        fill_color: color (0 to 255 per channel) of what lies outside the image.

    Returns:
        (H, W, 3) uint8 of the input's size.
    """
    # OpenCV inverts the matrix itself, and its pixel centers sit on integers, as everywhere here.
    return cv2.warpAffine(
        image,
        image_to_input[:2],
        input_size,
        flags=interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill_color,
    )
