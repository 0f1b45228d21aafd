"""Random transforms of the matrix and of the colors, each drawn from the sample's own generator."""

from __future__ import annotations

__all__ = [
    'NormalScaleRotate',
    'RandomBlur',
    'RandomColor',
    'RandomDownscale',
    'RandomErase',
    'RandomFlip',
    'RandomScaleRotate',
]

from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import (
    Size,
    conjugate_about,
    flip_matrix,
    image_center,
    rotation_matrix,
    scaling_matrix,
    translation_matrix,
)
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import (
    MAX_ENLARGEMENT,
    MIN_ENLARGEMENT,
    check_colors,
    check_counts,
    check_intervals,
    check_kernel_sizes,
    check_number,
    check_probabilities,
)
from poseplug.data.transforms.base import PipelineStage, Transform, check_warped
from poseplug.registry import TRANSFORMS

_MAX_NORMAL_DEVIATIONS = 3.0  # a normal draw has no limit; packs are cut for this many standard deviations (99.7 %)
_BLUR_METHODS = ('mean', 'median')
_MAX_LOG2_GROWTH = 2.0  # a crop four times as large, and as small; at the limit of the draw 16 times


@TRANSFORMS.register_module()
class RandomScaleRotate(Transform):
    """Scales and rotates the image about the center of the input, by uniform draws.

    Args:
        input_size: (width, height) of the input in px.
        scale_factor: smallest and largest enlargement.
        degrees: largest angle, clockwise and counterclockwise.
        shift_factor: standard deviation of a normal shift on either axis, as a fraction of the input's size.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.GEOMETRY

    def __init__(
        self,
        input_size: Size,
        scale_factor: tuple[float, float] = (0.7, 1.3),
        degrees: float = 40.0,
        shift_factor: float = 0.0,
    ):
        check_intervals('RandomScaleRotate', MIN_ENLARGEMENT, MAX_ENLARGEMENT, scale_factor=scale_factor)
        check_number('RandomScaleRotate', 'degrees', degrees, 0, 180)
        check_probabilities('RandomScaleRotate', shift_factor=shift_factor)
        self.input_size, self.scale_factor = input_size, scale_factor
        self.degrees, self.shift_factor = degrees, shift_factor

    def __call__(self, sample: Sample) -> Sample:
        # Always drawn in this order: a seed's samples change with the order of the draws.
        factor, degrees = sample.rng.uniform(*self.scale_factor), sample.rng.uniform(-self.degrees, self.degrees)
        dx, dy = self.shift_factor * sample.rng.standard_normal(2) * self.input_size
        # The shift comes last: it moves the subject off the center, whatever the rotation.
        change = conjugate_about(rotation_matrix(degrees) @ scaling_matrix(factor), image_center(self.input_size))
        sample.image_to_input = translation_matrix(dx, dy) @ change @ sample.image_to_input
        return sample

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        max_shift = _MAX_NORMAL_DEVIATIONS * self.shift_factor * np.array(input_size)
        # The smallest factor shows the most of the image.
        return _rotate_half_extent(half_extent + max_shift, self.degrees) / self.scale_factor[0]


@TRANSFORMS.register_module()
class NormalScaleRotate(Transform):
    """Scales, rotates and shifts the crop by clipped normal draws (Xiao et al. 2018; Sun et al. 2019).

    The crop is enlarged, so a larger draw makes the instance smaller.

    Args:
        input_size: (width, height) of the input in px.
        scale_factor: standard deviation, and limit, of the crop's relative enlargement.
        degrees: standard deviation of the angle; the limit is twice as much. (HRNet's ROT_FACTOR; MMPose 1.x calls the
            limit rotate_factor.)
        rotate_prob: probability of a rotation.
        log2_scale: enlarge the crop by 2 to the power of the draw, whose limit is then twice `scale_factor` (Newell et
            al. 2016).
        shift_factor: standard deviation of a shift on either axis, as a fraction of the crop's size; the limit is twice
            as much.
        shift_prob: probability of a shift.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.GEOMETRY

    def __init__(
        self,
        input_size: Size,
        scale_factor: float = 0.35,
        degrees: float = 45.0,
        rotate_prob: float = 0.6,
        log2_scale: bool = False,
        shift_factor: float = 0.0,
        shift_prob: float = 0.3,
    ):
        if log2_scale:
            check_number('NormalScaleRotate', 'scale_factor', scale_factor, 0, _MAX_LOG2_GROWTH)
        else:
            # From 1 on the smallest draws would turn the image inside out.
            check_number('NormalScaleRotate', 'scale_factor', scale_factor, 0, 1, below=True)
        check_number('NormalScaleRotate', 'degrees', degrees, 0, 180)
        check_probabilities(
            'NormalScaleRotate', rotate_prob=rotate_prob, shift_factor=shift_factor, shift_prob=shift_prob
        )
        self.input_size, self.scale_factor, self.log2_scale = input_size, scale_factor, log2_scale
        self.degrees, self.rotate_prob = degrees, rotate_prob
        self.shift_factor, self.shift_prob = shift_factor, shift_prob

    def __call__(self, sample: Sample) -> Sample:
        # All numbers are drawn even where they are not used: one setting does not change the draws of another.
        # Clipped at two deviations, as the released codes clip rotation; scale is clipped further below, at one.
        scale_draw, *shift_draws = np.clip(sample.rng.standard_normal(3), -2, 2)
        degrees = self.degrees * np.clip(sample.rng.standard_normal(), -2, 2)
        is_rotated, is_shifted = sample.rng.random(2) < (self.rotate_prob, self.shift_prob)
        if self.log2_scale:
            growth = 2 ** (self.scale_factor * scale_draw)
        else:
            growth = 1 + self.scale_factor * np.clip(scale_draw, -1, 1)
        change = rotation_matrix(degrees if is_rotated else 0.0) @ scaling_matrix(1 / growth)
        dx, dy = self.shift_factor * is_shifted * np.array(shift_draws) * self.input_size
        change = conjugate_about(change, image_center(self.input_size))
        sample.image_to_input = translation_matrix(dx, dy) @ change @ sample.image_to_input
        return sample

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        # The draw ends at 2, and 2 ** (2 s) is 4 ** s.
        max_growth = 4**self.scale_factor if self.log2_scale else 1 + self.scale_factor
        max_shift = 2 * self.shift_factor * np.array(input_size)
        max_degrees = 2 * self.degrees if self.rotate_prob else 0.0
        return max_growth * _rotate_half_extent(half_extent + max_shift, max_degrees)


def _rotate_half_extent(half_extent: np.ndarray, max_degrees: float) -> np.ndarray:
    """Return half the extent (2,) in x and y of a rectangle at its worst angle up to `max_degrees`."""
    max_angle = np.radians(min(max_degrees, 90.0))
    # An axis is longest where the rectangle's diagonal lies along it.
    worst_angles = np.minimum(max_angle, np.arctan2(half_extent[::-1], half_extent))
    return half_extent * np.cos(worst_angles) + half_extent[::-1] * np.sin(worst_angles)


@TRANSFORMS.register_module()
class RandomFlip(Transform):
    """Flips the input horizontally at random, and exchanges left and right keypoints of all instances.

    Args:
        input_size: (width, height) of the input in px.
        prob: probability of a flip.

    Raises:
        ConfigError: `prob` is no probability.
    """

    stage = PipelineStage.GEOMETRY
    is_for_training = True

    def __init__(self, input_size: Size, prob: float = 0.5):
        check_probabilities('RandomFlip', prob=prob)
        self.input_size, self.prob = input_size, prob

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() < self.prob:
            # Positions stay in image px and follow the matrix; only the names change.
            order = sample.skeleton.flip_indices
            sample.image_to_input = flip_matrix(self.input_size[0]) @ sample.image_to_input
            sample.keypoints, sample.visible = sample.keypoints[:, order], sample.visible[:, order]
        return sample


@TRANSFORMS.register_module()
class RandomColor(Transform):
    """Changes contrast, brightness and the gain of each color channel by uniform draws.

    Stands after `Warp`: one table look-up per pixel of the input, not of the whole image.

    Args:
        contrast: largest relative change of the contrast about mid-gray.
        brightness: largest shift of the brightness, as a fraction of its range.
        channel_gain: largest relative change of a channel's contrast.

    Raises:
        ConfigError: a setting is not from 0 to 1.
    """

    stage = PipelineStage.INPUT

    def __init__(self, contrast: float = 0.3, brightness: float = 0.15, channel_gain: float = 0.15):
        check_probabilities('RandomColor', contrast=contrast, brightness=brightness, channel_gain=channel_gain)
        self.contrast, self.brightness, self.channel_gain = contrast, brightness, channel_gain

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        gain = 1 + rng.uniform(-self.contrast, self.contrast)
        gains = gain * (1 + rng.uniform(-self.channel_gain, self.channel_gain, 3))
        shift = 128 + 256 * rng.uniform(-self.brightness, self.brightness)
        # Contrast is changed about mid-gray, so that it does not change the brightness.
        # One column per channel: 256 numbers are computed, however large the input is.
        table = (np.arange(256)[:, None] - 128) * gains + shift
        rows = sample.inputs.reshape(-1, *sample.inputs.shape[2:])  # (V H, W, 3): OpenCV takes one image
        changed = cv2.LUT(rows, np.clip(table, 0, 255).astype(np.uint8)[None])
        sample.inputs = changed.reshape(sample.inputs.shape)
        return sample


@TRANSFORMS.register_module()
class RandomBlur(Transform):
    """Blurs the warped input at random, by the mean or median of the square around each pixel.

    Stands after `Warp`.

    Args:
        prob: probability of a blur.
        method: 'mean' or 'median'.
        kernel_sizes: sides of the square in px, of which one is drawn; odd numbers from 3.

    Raises:
        ConfigError: the method is unknown, a kernel size is even or below 3, or `prob` is no probability.
    """

    stage = PipelineStage.INPUT

    def __init__(self, prob: float = 0.1, method: str = 'mean', kernel_sizes: Sequence[int] = (3, 5, 7)):
        if method not in _BLUR_METHODS:
            raise ConfigError(f'RandomBlur: method is one of {", ".join(_BLUR_METHODS)}; got {method!r}')
        check_probabilities('RandomBlur', prob=prob)
        check_kernel_sizes('RandomBlur', kernel_sizes=kernel_sizes)
        self.prob, self.method, self.kernel_sizes = prob, method, tuple(kernel_sizes)

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        if sample.rng.random() < self.prob:
            size = int(sample.rng.choice(self.kernel_sizes))
            if self.method == 'mean':
                blurred = [cv2.blur(view, (size, size)) for view in sample.inputs]
            else:
                blurred = [cv2.medianBlur(view, size) for view in sample.inputs]
            sample.inputs = np.stack(blurred)
        return sample


@TRANSFORMS.register_module()
class RandomDownscale(Transform):
    """Reduces the warped input at random and enlarges it again, as an image of a small or distant instance.

    Stands after `Warp`.

    Args:
        prob: probability of a change.
        factor_range: smallest and largest reduced side, as a fraction of the input's.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.INPUT

    def __init__(self, prob: float = 0.2, factor_range: tuple[float, float] = (0.3, 0.8)):
        check_probabilities('RandomDownscale', prob=prob)
        check_intervals('RandomDownscale', MIN_ENLARGEMENT, 1, factor_range=factor_range)
        self.prob, self.factor_range = prob, factor_range

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        is_changed, factor = sample.rng.random() < self.prob, sample.rng.uniform(*self.factor_range)
        if is_changed:
            height, width = sample.inputs.shape[1:3]
            small = (max(1, round(factor * width)), max(1, round(factor * height)))
            # INTER_AREA averages, as a sensor does; picking pixels would alias.
            reduced = [cv2.resize(view, small, interpolation=cv2.INTER_AREA) for view in sample.inputs]
            sample.inputs = np.stack([cv2.resize(view, (width, height)) for view in reduced])
        return sample


@TRANSFORMS.register_module()
class RandomErase(Transform):
    """Covers random rectangles of the warped input (coarse dropout; DeVries & Taylor 2017).

    Stands after `Warp`. The rectangles are the same in all views.

    Args:
        prob: probability of any rectangles.
        max_holes: largest number of rectangles; from 1 to this many are drawn.
        hole_size_range: smallest and largest side of a rectangle, as a fraction of the input's.
        fill: color (BGR, 0 to 255) of the rectangles, or 'noise' for random pixels.

    Raises:
        ConfigError: `fill` is another word, or a setting is out of range.
    """

    stage = PipelineStage.INPUT

    def __init__(
        self,
        prob: float = 0.5,
        max_holes: int = 1,
        hole_size_range: tuple[float, float] = (0.2, 0.4),
        fill: tuple[int, int, int] | str = (128, 128, 128),
    ):
        if isinstance(fill, str) and fill != 'noise':
            raise ConfigError(f"RandomErase: fill is a color (BGR, 0 to 255) or 'noise'; got {fill!r}")
        if not isinstance(fill, str):
            check_colors('RandomErase', fill=fill)
        check_probabilities('RandomErase', prob=prob)
        check_counts('RandomErase', max_holes=max_holes)
        check_intervals('RandomErase', 0, 1, hole_size_range=hole_size_range)
        self.prob, self.max_holes, self.hole_size_range, self.fill = prob, max_holes, hole_size_range, fill

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        if rng.random() < self.prob:
            sample.inputs = sample.inputs.copy()  # the caller's array stays as it is
            height, width = sample.inputs.shape[1:3]
            for _ in range(rng.integers(1, self.max_holes + 1)):
                w, h = np.maximum(rng.uniform(*self.hole_size_range, 2) * (width, height), 1).astype(int)
                # Whole rectangles inside the input: their size is what was drawn.
                x, y = rng.integers(0, (max(1, width - w + 1), max(1, height - h + 1)))
                hole = sample.inputs[:, y : y + h, x : x + w]
                hole[...] = rng.integers(0, 256, hole.shape) if self.fill == 'noise' else self.fill
        return sample
