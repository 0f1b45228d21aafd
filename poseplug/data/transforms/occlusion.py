"""Random transforms that hide parts of the subject: an image that ends early, and other people before or beside it."""

from __future__ import annotations

__all__ = ['PasteInstance', 'RandomCut']

import cv2
import numpy as np

from poseplug.core.geometry import Size, rotation_matrix, scaling_matrix, transform_points, translation_matrix
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import (
    MAX_ENLARGEMENT,
    MIN_ENLARGEMENT,
    check_intervals,
    check_number,
    check_probabilities,
)
from poseplug.data.transforms.base import PipelineStage, Transform, check_warped
from poseplug.data.transforms.mosaic import MixImageTransform
from poseplug.registry import TRANSFORMS

_LIMB_WIDTH = 0.12  # of a pasted limb, as a fraction of the longer side of the box around its instance's keypoints
_MIN_LIMB_FRACTION = 0.3  # of the limbs that are pasted, on average of the smallest draw
_COVERED_ALPHA = 0.5  # of the pasted pixels, above which a keypoint below them counts as occluded


@TRANSFORMS.register_module()
class RandomCut(Transform):
    """Lets the image end within the subject, at a random one of the input's four sides.

    What lies beyond the line has the fill color, as what lies beyond the border of an image. Keypoints there are moved
    outside the input, so that a codec treats them as any keypoint that the input does not show. Stands after `Warp`.

    Args:
        prob: probability of a cut.
        cut_range: smallest and largest part of the subject that is cut off: of the extent of its labeled keypoints.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.INPUT
    is_for_training = True

    def __init__(self, prob: float = 0.2, cut_range: tuple[float, float] = (0.05, 0.5)):
        check_probabilities('RandomCut', prob=prob)
        check_intervals('RandomCut', 0, 1, cut_range=cut_range)
        self.prob, self.cut_range = prob, cut_range

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        # All numbers are drawn even where they are not used: one setting does not change the draws of another.
        is_cut, axis, cuts_end, part = rng.random() < self.prob, *rng.integers(0, 2, 2), rng.uniform(*self.cut_range)
        extent = _find_extent(sample)
        if not is_cut or extent is None:
            return sample
        low, high = extent[0][axis], extent[1][axis]
        line = high - part * (high - low) if cuts_end else low + part * (high - low)
        self._fill_beyond(sample, line, int(axis), bool(cuts_end))
        self._move_keypoints(sample, line, int(axis), bool(cuts_end))
        return sample

    @staticmethod
    def _fill_beyond(sample: Sample, line: float, axis: int, cuts_end: bool) -> None:
        """Fill every view beyond a line, which is in input px of the first view."""
        sample.inputs = sample.inputs.copy()  # the caller's array stays as it is
        to_image = np.linalg.inv(sample.image_to_input)
        for view, matrix in zip(sample.inputs, [sample.image_to_input, *sample.view_matrices], strict=True):
            position = transform_points(matrix @ to_image, np.array([line, line]))[axis]
            index = int(np.clip(np.ceil(position), 0, view.shape[1 - axis]))
            beyond = slice(index, None) if cuts_end else slice(None, index)
            view[(slice(None), beyond) if axis == 0 else beyond] = sample.fill_color

    @staticmethod
    def _move_keypoints(sample: Sample, line: float, axis: int, cuts_end: bool) -> None:
        """Move the keypoints beyond the line outward by the size of the input."""
        points = transform_points(sample.image_to_input, sample.keypoints.astype(float))
        beyond = points[..., axis] > line if cuts_end else points[..., axis] < line
        size = sample.inputs.shape[2 - axis]
        # Beyond the input, but still labeled: each codec has a rule for such keypoints (`outside`).
        points[..., axis] += np.where(beyond, size if cuts_end else -size, 0)
        moved = transform_points(np.linalg.inv(sample.image_to_input), points)
        keypoints = np.where(beyond[..., None], moved, sample.keypoints)
        sample.keypoints = keypoints.astype(sample.keypoints.dtype)


@TRANSFORMS.register_module()
class PasteInstance(MixImageTransform):
    """Pastes limbs of an instance of another sample over or beside the subject.

    The pasted pixels are those around the limbs between labeled keypoints, of a random part of all limbs. Keypoints
    below them count as occluded; those of the pasted instance are not annotated. Stands after `Warp`.

    Args:
        prob: probability of a pasted instance.
        scale_range: smallest and largest size of the pasted instance, as a multiple of the subject's.
        distance_range: smallest and largest distance between the centers of both, as a multiple of the subject's size.
        degrees: largest rotation of the pasted instance, in both directions.

    Raises:
        ConfigError: a setting is out of range, or the sample does not come from a data set.
    """

    stage = PipelineStage.INPUT

    def __init__(
        self,
        prob: float = 0.3,
        scale_range: tuple[float, float] = (0.5, 1.2),
        distance_range: tuple[float, float] = (0.2, 0.7),
        degrees: float = 45.0,
    ):
        check_probabilities('PasteInstance', prob=prob)
        check_intervals('PasteInstance', MIN_ENLARGEMENT, MAX_ENLARGEMENT, scale_range=scale_range)
        check_intervals('PasteInstance', 0, MAX_ENLARGEMENT, distance_range=distance_range)
        check_number('PasteInstance', 'degrees', degrees, 0, 180)
        self.prob, self.scale_range, self.distance_range, self.degrees = prob, scale_range, distance_range, degrees

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        if sample.rng.random() >= self.prob:
            return sample
        other = self.draw_other_sample(sample)
        # One matrix for all views: further views see the pasted instance at their own scale.
        to_input = self.draw_matrix(sample, other)
        if to_input is None:
            return sample
        limbs = _draw_limbs(other, sample.rng)
        to_image = np.linalg.inv(sample.image_to_input)
        matrices = [sample.image_to_input, *sample.view_matrices]
        views = [
            _paste_limbs(view, other, m @ to_image @ to_input, limbs)
            for view, m in zip(sample.inputs, matrices, strict=True)
        ]
        sample.inputs = np.stack([view for view, _ in views])
        _hide_keypoints(sample, views[0][1])
        return sample

    def draw_matrix(self, sample: Sample, other: Sample) -> np.ndarray | None:
        """Draw where the other sample's instance comes to lie.

        Args:
            sample: the warped sample, whose generator draws.
            other: the sample with the instance.

        Returns:
            (3, 3) from the other image's px to those of the input; None if one of both has no extent.
        """
        rng = sample.rng
        factor, distance = rng.uniform(*self.scale_range), rng.uniform(*self.distance_range)
        degrees, direction = rng.uniform(-self.degrees, self.degrees), rng.uniform(0, 2 * np.pi)
        extent, points = _find_extent(sample), other.keypoints[0][other.visible[0] > 0]
        if extent is None or len(points) < 2:
            return None
        size, other_size = (extent[1] - extent[0]).max(), np.ptp(points, axis=0).max()
        if min(size, other_size) < 1:
            return None
        center = extent.mean(axis=0) + distance * size * np.array([np.cos(direction), np.sin(direction)])
        other_center = (points.min(axis=0) + points.max(axis=0)) / 2
        to_origin = translation_matrix(*-other_center)
        return (
            translation_matrix(*center)
            @ rotation_matrix(degrees)
            @ scaling_matrix(factor * size / other_size)
            @ to_origin
        )


def _find_extent(sample: Sample) -> np.ndarray | None:
    """Find two corners (2, 2) of the subject's labeled keypoints in input px; None without any."""
    points = sample.keypoints[0][sample.visible[0] > 0]
    if not len(points):
        return None
    points = transform_points(sample.image_to_input, points.astype(float))
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _draw_limbs(other: Sample, rng: np.random.Generator) -> np.ndarray:
    """Draw a part (M, 2) of the limbs whose keypoints are labeled, as keypoint indices."""
    limbs = other.skeleton.limb_indices
    chosen = rng.random(len(limbs)) < rng.uniform(_MIN_LIMB_FRACTION, 1)
    labeled = (other.visible[0] > 0)[limbs].all(axis=1)
    return limbs[chosen & labeled]


def _paste_limbs(
    view: np.ndarray, other: Sample, matrix: np.ndarray, limbs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paste the pixels around limbs of another image into a view (H, W, 3).

    Returns:
        The view with them, and how much of each pixel they are (H, W), 0 to 1.
    """
    size: Size = (view.shape[1], view.shape[0])
    points = transform_points(matrix, other.keypoints[0].astype(float))
    labeled = points[other.visible[0] > 0]
    width = max(1, round(_LIMB_WIDTH * np.ptp(labeled, axis=0).max()))
    mask = np.zeros(size[::-1], np.float32)
    for a, b in np.rint(points[limbs]).astype(int):
        cv2.line(mask, a.tolist(), b.tolist(), 1.0, width)
    pixels = other.pixels
    # Limbs may reach beyond the other image, where there are no pixels to paste.
    inside = np.ones(pixels.shape[:2], np.float32)
    mask = cv2.blur(mask * cv2.warpAffine(inside, matrix[:2], size), (3, 3))
    pasted = cv2.warpAffine(pixels, matrix[:2], size)
    blended = view + mask[..., None] * (pasted.astype(np.float32) - view)
    return np.rint(blended).astype(np.uint8), mask


def _hide_keypoints(sample: Sample, mask: np.ndarray) -> None:
    """Let visible keypoints below the pasted pixels count as occluded."""
    columns, rows = np.moveaxis(np.rint(transform_points(sample.image_to_input, sample.keypoints)).astype(int), -1, 0)
    height, width = mask.shape
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    covered = mask[rows.clip(0, height - 1), columns.clip(0, width - 1)] > _COVERED_ALPHA
    sample.visible = np.where(is_inside & covered & (sample.visible == 2), 1, sample.visible)
