"""How a whole image meets the input of a network: matrices from image to input pixels."""

from __future__ import annotations

__all__ = ['FitSide', 'LetterboxSide', 'fit_image', 'letterbox_matrix', 'round_up_size']

from typing import Literal

import numpy as np

from poseplug.core.geometry import CropRule, Size, crop_matrix, fit_matrix, image_center

LetterboxSide = Literal['height', 'longer']
FitSide = Literal['height', 'longer', 'shorter']


def letterbox_matrix(
    image_size: Size,
    input_size: Size,
    fill_fraction: float = 1.0,
    side: LetterboxSide = 'longer',
    crop_rule: CropRule = 'pixels',
) -> np.ndarray:
    """Return the matrix that fits a whole image into the center of an input of fixed size.

    Args:
        image_size: (width, height) of the image in px.
        input_size: (width, height) of the input in px.
        fill_fraction: fraction of the input's side that the image fills.
        side: 'height': the image's height fills it. 'longer': the side that reaches the input's border first does.
        crop_rule: 'released_hrnet' takes the middle of the image's area, w / 2, to W / 2 (MMPose's `BottomupResize`).
            Pixel centers, (w - 1) / 2 and (W - 1) / 2, coincide by every other rule.

    Returns:
        (3, 3) from image to input pixels.

    Example:
        >>> letterbox_matrix((200, 100), (100, 100))[0, 0].item()
        0.5
        >>> (letterbox_matrix((200, 100), (100, 100), crop_rule='released_hrnet') @ (100, 50, 1)).tolist()
        [50.0, 50.0, 1.0]
    """
    if crop_rule == 'released_hrnet':
        # With the height alone, a box without width: the height decides.
        extent = np.array([image_size[0] if side == 'longer' else 1.0, image_size[1]]) / fill_fraction
        return fit_matrix(np.array(image_size) / 2, extent, input_size, crop_rule)
    factor = input_size[1] / image_size[1]
    if side == 'longer':
        # The smaller factor is that of the side which reaches the border first.
        factor = min(factor, input_size[0] / image_size[0])
    # Below 1 a margin stays on all sides.
    return crop_matrix(image_center(image_size), fill_fraction * factor, input_size)


def fit_image(
    image_size: Size,
    input_size: Size,
    side: FitSide = 'height',
    size_divisor: int = 32,
    max_side: int | None = None,
    crop_rule: CropRule = 'pixels',
) -> tuple[np.ndarray, Size]:
    """Return the matrix that resizes a whole image into an input of its own shape, and the size of that input.

    Args:
        image_size: (width, height) of the image in px.
        input_size: (width, height) of the model's input in px.
        side: 'height': the image becomes as high as the model's input. 'longer': as large as fits into it. 'shorter':
            as small as covers it.
        size_divisor: both sides of the input are multiples of it, in px.
        max_side: px of the image's longer side at most, whatever `side` says.
        crop_rule: as in `letterbox_matrix`; 'released_hrnet' also rounds up as MMPose does, a rounding error to a whole
            `size_divisor` more.

    Returns:
        (3, 3) from image to input pixels; and (width, height) of the input, with half of the padding on either side of
        the image.

    Example:
        >>> fit_image((300, 200), (368, 368))[1]
        (576, 384)
    """
    size = np.array(image_size)
    # x and y; the smaller one fits the whole image into the input, the larger one covers it.
    factors = np.array(input_size) / size
    factor = {'height': factors[1], 'longer': factors.min(), 'shorter': factors.max()}[side]
    if max_side is not None:
        factor = min(factor, max_side / size.max())
    if crop_rule == 'released_hrnet':
        return _fit_as_released(size, factor, size_divisor)
    # Rounded up, never down: the whole image stays in the input.
    view_size = round_up_size(size * factor, size_divisor)
    return crop_matrix(image_center(image_size), float(factor), view_size), view_size


def _fit_as_released(size: np.ndarray, factor: float, divisor: int) -> tuple[np.ndarray, Size]:
    """The matrix and the input's size of `fit_image`, as MMPose computes them."""
    # The sides that lead MMPose to its factor: an equal product by another way may round to the next multiple.
    ratio = size[0] / size[1]
    if factor * size[0] <= factor * size[1]:
        width = round(factor * size[0], 6)
        resized = np.array([width, width / ratio])
    else:
        height = round(factor * size[1], 6)
        resized = np.array([height * ratio, height])
    width, height = (np.ceil(resized / divisor).astype(int) * divisor).tolist()
    # Enlarged by the padding, the image has the shape of the input, and its middle lies in that of the input.
    extent = size * np.array([width, height]) / resized
    return fit_matrix(size / 2, extent, (width, height), 'released_hrnet'), (width, height)


def round_up_size(size: np.ndarray, divisor: int) -> Size:
    """Return a size (2,; width, height) rounded up to multiples of a divisor."""
    # The tolerance keeps a size that is a multiple but for rounding errors.
    width, height = (np.ceil(np.maximum(size, 1) / divisor - 1e-6).astype(int) * divisor).tolist()
    return width, height
