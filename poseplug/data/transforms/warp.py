"""The one warp at the end of a pipeline, and views at several scales for test-time augmentation."""

from __future__ import annotations

__all__ = ['MultiScaleCrop', 'Warp']

import math
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import (
    CropRule,
    Size,
    conjugate_about,
    image_center,
    scaling_matrix,
    transform_points,
)
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import check_colors, check_enlargement_lists
from poseplug.data.collate import stack_padded
from poseplug.data.image_warp import choose_reduction, reduced_to_full_matrix, warp_image
from poseplug.data.mosaic_image import ImageMosaic
from poseplug.data.transforms.base import PipelineStage, Transform
from poseplug.files.images import LazyImage
from poseplug.registry import TRANSFORMS

_INTERPOLATION_FLAGS = {'linear': cv2.INTER_LINEAR, 'cubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA}
_INTERPOLATION_ROWS = 3  # rows below a position that bicubic interpolation reads (2), and one to spare


@TRANSFORMS.register_module()
class MultiScaleCrop(Transform):
    """Adds views of the image at several scales about the center of the input, whose predictions are fused.

    All views have the size of the input. Stands after the transform that crops.

    Args:
        input_size: (width, height) of the input in px.
        scales: enlargement of each view.

    Raises:
        ConfigError: a scale is out of range.
    """

    stage = PipelineStage.VIEWS

    def __init__(self, input_size: Size, scales: Sequence[float]):
        check_enlargement_lists('MultiScaleCrop', scales=scales)
        self.input_size, self.scales = input_size, scales

    def __call__(self, sample: Sample) -> Sample:
        # Scaled about the center of the input, so that the subject stays there.
        center = image_center(self.input_size)
        first, *others = (conjugate_about(scaling_matrix(s), center) @ sample.image_to_input for s in self.scales)
        sample.image_to_input, sample.view_matrices = first, others
        return sample


@TRANSFORMS.register_module()
class Warp(Transform):
    """Warps the image into the network's input, once per view, by the matrices of the transforms before it.

    Args:
        input_size: (width, height) of the input in px.
        interpolation: 'linear', 'cubic' or 'area', as OpenCV has them.
        fill_color: color (BGR, 0 to 255) of what lies outside the image; by default gray, or black where `crop_rule` is
            that of a released code.
        reduced_decoding: decode a JPEG file at 1/2, 1/4 or 1/8 of its size where even that is no coarser than the
            input. The pixels become means of blocks, smoother than linear interpolation that skips pixels. It pays for
            large images only: half the size still costs 85 % of the whole, because the entropy code must be read.
        crop_rule: as in `CropBox`; provided by the codec.

    Raises:
        ConfigError: the interpolation is unknown, or `fill_color` is no color.
    """

    stage = PipelineStage.WARP

    def __init__(
        self,
        input_size: Size,
        interpolation: str = 'linear',
        fill_color: Sequence[int] | None = None,
        reduced_decoding: bool = False,
        crop_rule: CropRule = 'pixels',
    ):
        if interpolation not in _INTERPOLATION_FLAGS:
            raise ConfigError(f'Warp: interpolation is one of {", ".join(_INTERPOLATION_FLAGS)}; got {interpolation!r}')
        if fill_color is None:  # released codes warp with OpenCV's default, black
            fill_color = (0, 0, 0) if crop_rule.startswith('released') else (128, 128, 128)
        check_colors('Warp', fill_color=fill_color)
        self.input_size, self.fill_color, self.reduced_decoding = input_size, tuple(fill_color), reduced_decoding
        self.interpolation_flag = _INTERPOLATION_FLAGS[interpolation]

    def __call__(self, sample: Sample) -> Sample:
        matrices = [sample.image_to_input, *sample.view_matrices]
        sizes = sample.view_sizes or [self.input_size] * len(matrices)
        image = sample.image
        if isinstance(image, LazyImage):
            image, matrices = self._decode_part(image, matrices, sizes)
        if isinstance(image, ImageMosaic):
            render: Callable[..., np.ndarray] = image.render_view
        else:
            render = partial(warp_image, image if isinstance(image, np.ndarray) else image.get_pixels())
        # A leading axis of 1, so that views of different sizes can be stacked with padding.
        views = [
            render(m, size, self.interpolation_flag, self.fill_color)[None]
            for m, size in zip(matrices, sizes, strict=True)
        ]
        if len(views) == 1:
            sample.inputs = views[0]
        else:
            sample.inputs = np.concatenate(stack_padded(views, [self.fill_color] * len(views)))
        sample.view_sizes, sample.fill_color = list(sizes), self.fill_color
        return sample

    def _decode_part(
        self, image: LazyImage, matrices: list[np.ndarray], sizes: Sequence[Size]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Decode the rows that the views need, reduced if allowed; returns their pixels and the matrices from these."""
        # The training crops of a COCO subset need 77 % of the rows. The pixels are the same to the last bit.
        num_rows = max(map(_count_required_rows, matrices, sizes))
        if not self.reduced_decoding or not image.supports_reduction:
            return image.get_top_rows(num_rows), matrices
        reduction = choose_reduction(matrices)
        pixels = image.get_top_rows(num_rows, reduction)
        if reduction > 1:
            # From reduced to full pixels first, then by the matrix as it was.
            matrices = [m @ reduced_to_full_matrix(reduction) for m in matrices]
        return pixels, matrices


def _count_required_rows(image_to_input: np.ndarray, input_size: Size) -> int:
    """Return how many rows of the image, from its top, the input is interpolated from."""
    # A pixel beyond the border on each side. The lowest row is at a corner, since the matrix is affine.
    (left, top), (right, bottom) = (-1.0, -1.0), input_size
    corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)])
    lowest_row = transform_points(np.linalg.inv(image_to_input), corners)[:, 1].max()
    return max(1, math.ceil(lowest_row) + _INTERPOLATION_ROWS)
