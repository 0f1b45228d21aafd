"""Random scale, rotation, shift and flip of the image: changes of the matrix, drawn from the sample's generator."""

from __future__ import annotations

__all__ = ['NormalScaleRotate', 'RandomFlip', 'RandomScaleRotate']

import numpy as np

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
    check_intervals,
    check_number,
    check_probabilities,
)
from poseplug.data.transforms.base import PipelineStage, Transform
from poseplug.registry import TRANSFORMS

_MAX_NORMAL_DEVIATIONS = 3.0  # a normal draw has no limit; packs are cut for this many standard deviations (99.7 %)
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
