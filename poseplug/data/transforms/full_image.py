"""Transforms of whole images with all instances: how an image fits the input, and what takes part in the loss."""

from __future__ import annotations

__all__ = ['CenterOnInstance', 'FitImage', 'MaskIgnoredRegions', 'MultiScaleImage', 'RandomShift']

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from poseplug.core.boxes import clip_boxes
from poseplug.core.crops import FitSide, fit_image, round_up_size
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import CropRule, Size, crop_matrix, image_center, translation_matrix
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import (
    check_counts,
    check_enlargement_lists,
    check_enlargements,
    check_probabilities,
)
from poseplug.data.masks import build_loss_mask
from poseplug.data.transforms.base import PipelineStage, Transform
from poseplug.registry import TRANSFORMS

_RESIZE_SIDES = ('height', 'longer', 'shorter')


@TRANSFORMS.register_module()
class FitImage(Transform):
    """Resizes the whole image into an input of its own shape, for testing (MMPose: BottomupResize).

    The input's sides are multiples of `size_divisor`, with half of the padding on either side of the image.
    `LetterboxImage` fits the image into an input of fixed size instead.

    Args:
        input_size: (width, height) of the model's input in px.
        side: 'height': the image becomes as high as the model's input. 'longer': as large as fits into it. 'shorter':
            as small as covers it.
        size_divisor: both sides of the input are multiples of it, in px, as the network's strides require.
        max_side: px of the image's longer side at most, whatever `side` says.
        crop_rule: how the image meets the input, see `poseplug.core.crops.fit_image`; provided by the codec.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.CROP

    def __init__(
        self,
        input_size: Size,
        side: FitSide = 'height',
        size_divisor: int = 32,
        max_side: int | None = None,
        crop_rule: CropRule = 'pixels',
    ):
        if side not in _RESIZE_SIDES:
            raise ConfigError(f'FitImage: side is one of {_RESIZE_SIDES}; got {side!r}')
        check_counts('FitImage', size_divisor=size_divisor)
        if max_side is not None:
            check_counts('FitImage', min_count=size_divisor, max_side=max_side)
        self.input_size, self.side, self.size_divisor, self.max_side = input_size, side, size_divisor, max_side
        self.crop_rule: CropRule = crop_rule

    def __call__(self, sample: Sample) -> Sample:
        sample.image_to_input, view_size = fit_image(
            sample.image_size, self.input_size, self.side, self.size_divisor, self.max_side, self.crop_rule
        )
        sample.view_sizes = [view_size]
        return sample


@TRANSFORMS.register_module()
class MultiScaleImage(Transform):
    """Adds views of the whole image at several scales, each in an input of its own size; predictions are averaged.

    Stands after `FitImage`. Instances are grouped on the cells of the first view, so `scales` begins with the most
    important one; the defaults are those of the released multi-scale test of part affinity fields.

    Args:
        input_size: (width, height) of the model's input in px.
        scales: enlargement of each view.
        size_divisor: both sides of every view are multiples of it, in px.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.VIEWS

    def __init__(self, input_size: Size, scales: Sequence[float] = (1.0, 0.5, 1.5, 2.0), size_divisor: int = 32):
        check_enlargement_lists('MultiScaleImage', scales=scales)
        check_counts('MultiScaleImage', size_divisor=size_divisor)
        self.input_size, self.scales, self.size_divisor = input_size, tuple(scales), size_divisor

    def __call__(self, sample: Sample) -> Sample:
        # `FitImage` gives each image an input of its own size, and states it here.
        base_size = np.array(sample.view_sizes[0] if sample.view_sizes else self.input_size)
        view_sizes = [round_up_size(base_size * scale, self.size_divisor) for scale in self.scales]
        center = image_center((int(base_size[0]), int(base_size[1])))
        # Scaled about the center of the fitted image, so that all views show the same.
        first, *others = (
            crop_matrix(center, scale, view_size) @ sample.image_to_input
            for scale, view_size in zip(self.scales, view_sizes, strict=True)
        )
        sample.image_to_input, sample.view_matrices, sample.view_sizes = first, others, view_sizes
        return sample


@TRANSFORMS.register_module()
class CenterOnInstance(Transform):
    """Scales the image to the height of its first instance's box, and centers the input on that box.

    For training on whole images, with `PoseDataset(data_mode='bottomup_centered')`; all other instances stay in the
    sample. An image without instances is centered, as high as the input.

    Args:
        input_size: (width, height) of the input in px.
        height_fraction: height of the box as a fraction of the input's height (Cao et al. 2017: 0.6).

    Raises:
        ConfigError: `height_fraction` is out of range.
    """

    stage = PipelineStage.CROP

    def __init__(self, input_size: Size, height_fraction: float = 0.6):
        # Above 1 the input shows a part of the instance.
        check_enlargements('CenterOnInstance', height_fraction=height_fraction)
        self.input_size, self.height_fraction = input_size, height_fraction

    def __call__(self, sample: Sample) -> Sample:
        boxes = sample.record.instances.boxes[:1]
        heights = boxes[:, 3] - boxes[:, 1]
        if not len(boxes) or not heights[0] > 0:
            factor = self.input_size[1] / sample.image_size[1]
            sample.image_to_input = crop_matrix(image_center(sample.image_size), factor, self.input_size)
        else:
            factor = float(self.height_fraction * self.input_size[1] / heights[0])
            sample.image_to_input = crop_matrix((boxes[0, :2] + boxes[0, 2:]) / 2, factor, self.input_size)
        return sample


@TRANSFORMS.register_module()
class RandomShift(Transform):
    """Shifts the image by a uniform random fraction of the input's size on either axis.

    Args:
        input_size: (width, height) of the input in px.
        shift_factor: largest shift as a fraction of the input's size (Cao et al. 2017: 40 px of 368).

    Raises:
        ConfigError: `shift_factor` is not from 0 to 1.
    """

    stage = PipelineStage.GEOMETRY

    def __init__(self, input_size: Size, shift_factor: float = 40 / 368):
        check_probabilities('RandomShift', shift_factor=shift_factor)
        self.input_size, self.shift_factor = input_size, shift_factor

    def __call__(self, sample: Sample) -> Sample:
        dx, dy = sample.rng.uniform(-self.shift_factor, self.shift_factor, 2) * self.input_size
        sample.image_to_input = translation_matrix(dx, dy) @ sample.image_to_input
        return sample

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        return half_extent + self.shift_factor * np.array(input_size)


@TRANSFORMS.register_module()
class MaskIgnoredRegions(Transform):
    """Draws the loss mask: pixels of unlabeled instances and of crowds do not take part in the loss.

    Stands after every transform that changes the matrix. The mask is exact with a source that reads `segmentations`;
    boxes stand in for them otherwise.

    Args:
        input_size: (width, height) of the input in px.
    """

    stage = PipelineStage.MASK

    def __init__(self, input_size: Size):
        self.input_size = input_size

    def __call__(self, sample: Sample) -> Sample:
        view_size = sample.view_sizes[0] if sample.view_sizes else self.input_size
        ignored = sample.record.ignored
        # Regions keep the boxes of their file, which may reach beyond the image; what lies outside it takes part.
        ignored = replace(ignored, boxes=clip_boxes(ignored.boxes, np.array([sample.image_size])))
        record = replace(sample.record, ignored=ignored)
        sample.mask = build_loss_mask(record, sample.image_to_input, view_size)
        return sample
