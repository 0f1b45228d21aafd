"""How a detector's network is fed: the size and place of the image in its input, and the scale of the colors."""

from __future__ import annotations

__all__ = ['CHANNEL_ORDERS', 'RESIZE_MODES', 'DetectorInput', 'placement_matrix', 'warp_detector_input']

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size, conjugate_about, translation_matrix
from poseplug.core.setting_checks import check_pixel_norm
from poseplug.data.image_warp import choose_reduction, reduced_to_full_matrix, warp_image

ResizeMode = Literal['letterbox', 'letterbox_corner', 'stretch']
ChannelOrder = Literal['rgb', 'bgr']
RESIZE_MODES: tuple[str, ...] = get_args(ResizeMode)
CHANNEL_ORDERS: tuple[str, ...] = get_args(ChannelOrder)
_FIRST_CORNER = (-0.5, -0.5)  # where pixel centers sit on integers, the first pixel begins here


@dataclass(frozen=True)
class DetectorInput:
    """The rule by which an image becomes the input of a detector's network.

    Args:
        resize: 'letterbox' (as large as fits, in the middle), 'letterbox_corner' (as large as fits, in the upper left
            corner) or 'stretch' (the whole input, whatever the proportions).
        fill: value from 0 to 255 of the input beside a letterboxed image.
        channel_order: 'rgb' or 'bgr'.
        mean: (3,) subtracted from the channels, in their order, for values of 0 to 255.
        std: (3,) the channels are then divided by it; 255 makes values of 0 to 1.

    Raises:
        ConfigError: a value is none of these.
    """

    resize: ResizeMode = 'letterbox'
    fill: int = 114
    channel_order: ChannelOrder = 'rgb'
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (255.0, 255.0, 255.0)

    def __post_init__(self) -> None:
        for name, value, known in (
            ('resize', self.resize, RESIZE_MODES),
            ('channel_order', self.channel_order, CHANNEL_ORDERS),
        ):
            if value not in known:
                raise ConfigError(f'{name} of a detector is one of {", ".join(known)}; got {value!r}')
        if not 0 <= self.fill <= 255:
            raise ConfigError(f'fill of a detector is a value from 0 to 255; got {self.fill}')
        check_pixel_norm('a detector', self.mean, self.std)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Convert pixels (H, W, 3; BGR) of uint8 to a network's input (3, H, W) of float32."""
        # By tables of the 256 values: 0.6 instead of 5 ms at 416 x 416 px, and the same numbers.
        values = np.arange(256, dtype=np.float32)[:, None]
        table: Any = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        step = 1 if self.channel_order == 'bgr' else -1
        normalized = np.empty((3, *pixels.shape[:2]), np.float32)
        for channel, plane in enumerate(cv2.split(pixels)[::step]):
            cv2.LUT(plane, table[:, channel].copy(), dst=normalized[channel])
        return normalized


def placement_matrix(image_size: Size, input_size: Size, resize: ResizeMode) -> np.ndarray:
    """Compute where an image lies in a detector's input.

    Args:
        image_size: (width, height) in px.
        input_size: (width, height) in px.
        resize: as in `DetectorInput`.

    Returns:
        (3, 3) from image to input, for the corners of boxes: x goes from 0 to the width, as in COCO's boxes, so that
        pixel centers sit on halves.

    Example:
        >>> placement_matrix((200, 100), (64, 64), 'letterbox').tolist()
        [[0.32, 0.0, 0.0], [0.0, 0.32, 16.0], [0.0, 0.0, 1.0]]
    """
    scales = np.array(input_size) / np.array(image_size)
    if resize != 'stretch':
        scales[:] = scales.min()
    offset = (0.0, 0.0)
    if resize == 'letterbox':
        offset = tuple((np.array(input_size) - scales * image_size) / 2)
    matrix: np.ndarray = translation_matrix(*offset) @ np.diag([*scales, 1.0])
    return matrix


def warp_detector_input(image: np.ndarray, input_size: Size, rule: DetectorInput) -> tuple[np.ndarray, np.ndarray]:
    """Place an image in a detector's input.

    An image of more than twice the input's size is first reduced by a whole number, as the mean of blocks: sampling it
    would lose narrow structures.

    Args:
        image: (H, W, 3) uint8.
        input_size: (width, height) of the input in px.
        rule: how the detector is fed.

    Returns:
        The input (height, width, 3) of uint8, and the matrix (3, 3) of `placement_matrix`.
    """
    image_size = (image.shape[1], image.shape[0])
    matrix = placement_matrix(image_size, input_size, rule.resize)
    image_to_input = conjugate_about(matrix, _FIRST_CORNER)  # of pixel centers
    fill_color = (rule.fill,) * 3
    reduction = choose_reduction([image_to_input])
    if reduction == 1 or min(image_size) < reduction:
        return warp_image(image, image_to_input, input_size, fill_color=fill_color), matrix
    # rows and columns that fill no whole block are cut, at most reduction - 1 of them
    width, height = (length // reduction for length in image_size)
    whole_blocks = image[: height * reduction, : width * reduction]
    reduced = cv2.resize(whole_blocks, (width, height), interpolation=cv2.INTER_AREA)
    # the center of a block of n px is at (n - 1) / 2 of the image
    reduced_to_input = image_to_input @ reduced_to_full_matrix(reduction)
    return warp_image(reduced, reduced_to_input, input_size, fill_color=fill_color), matrix
