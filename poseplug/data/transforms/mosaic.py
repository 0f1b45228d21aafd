"""Several images in one input: Mosaic and MixUp (YOLOX, Ge et al. 2021, arXiv:2107.08430)."""

from __future__ import annotations

__all__ = ['MixUp', 'Mosaic']

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from poseplug.core.boxes import clip_boxes_to_region, transform_boxes
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import (
    Size,
    flip_matrix,
    scaling_matrix,
    translation_matrix,
)
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import MAX_ENLARGEMENT, MIN_ENLARGEMENT, check_intervals, check_probabilities
from poseplug.data.mosaic_image import ImageMosaic, Tile
from poseplug.data.transforms.base import PipelineStage, Transform
from poseplug.registry import TRANSFORMS

_HALF_PIXEL = 0.5  # px from the center of the first pixel to the border of the image


class MixImageTransform(Transform):
    """A transform that takes further samples of the data set, drawn by the sample's own generator.

    Attributes:
        needs_other_samples: True; a single sample without its data set cannot be transformed.
    """

    needs_other_samples: ClassVar[bool] = True
    is_for_training = True

    def draw_other_sample(self, sample: Sample) -> Sample:
        """Draw another sample of the data set.

        Args:
            sample: the sample whose generator draws.

        Returns:
            The other sample, before any transform.

        Raises:
            ConfigError: the sample does not come from a data set.
        """
        if sample.draw_sample is None:
            raise ConfigError(f'{type(self).__name__} needs a data set to take further images from; use PoseDataset')
        return sample.draw_sample(sample.rng)


@TRANSFORMS.register_module()
class Mosaic(MixImageTransform):
    """Arranges four images around a point of a mosaic twice the size of the input.

    Each image fits the input, and has one corner at the point; parts beyond the mosaic are lost. Stands before the
    transform that crops or fits the image, which then does so with the mosaic.

    Args:
        input_size: (width, height) of the input in px.
        prob: probability of a mosaic; a sample stays as it is otherwise.
        center_range: smallest and largest position of the point, in both axes, as a fraction of the input's size from
            the mosaic's corner.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.IMAGE

    def __init__(self, input_size: Size, prob: float = 1.0, center_range: tuple[float, float] = (0.5, 1.5)):
        check_probabilities('Mosaic', prob=prob)
        check_intervals('Mosaic', 0, 2, center_range=center_range)
        self.input_size, self.prob, self.center_range = input_size, prob, center_range

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() >= self.prob:
            return sample
        size = (2 * self.input_size[0], 2 * self.input_size[1])
        x, y = sample.rng.uniform(*self.center_range, 2) * self.input_size - _HALF_PIXEL
        sources = [sample, *(self.draw_other_sample(sample) for _ in range(3))]
        mosaic_box = _size_to_box(size)
        tiles = []
        for quadrant, source in enumerate(sources):
            matrix = self._build_image_to_mosaic(source, (float(x), float(y)), quadrant)
            region = clip_boxes_to_region(_find_image_box(source, matrix), mosaic_box)
            tiles.append(Tile(source.image, matrix, region))
        return _merge_samples(sample, sources, tiles, ImageMosaic(size, tuple(tiles)))

    def _build_image_to_mosaic(self, source: Sample, corner: tuple[float, float], quadrant: int) -> np.ndarray:
        """Return the (3, 3) matrix of the image in a quadrant: 0 above left of the point, 1 above right, 2, 3 below."""
        factor = min(np.array(self.input_size) / source.image_size)
        width, height = np.array(source.image_size) * factor
        # The image's corner towards the point lies on it.
        left, top = corner[0] - (0 if quadrant % 2 else width), corner[1] - (0 if quadrant // 2 else height)
        return translation_matrix(left, top) @ scaling_matrix(factor) @ translation_matrix(_HALF_PIXEL, _HALF_PIXEL)


@TRANSFORMS.register_module()
class MixUp(MixImageTransform):
    """Blends another image over the first with equal weight; the instances of both stay.

    The other image fits the input, is enlarged at random, flipped in half of the cases, and put at a random position
    within the input or covering it. Stands after the transform that crops or fits the first image.

    Args:
        input_size: (width, height) of the input in px.
        prob: probability of a blend; a sample stays as it is otherwise.
        ratio_range: smallest and largest enlargement of the other image.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.GEOMETRY  # what moves the first image afterwards, as a flip, moves both

    def __init__(self, input_size: Size, prob: float = 1.0, ratio_range: tuple[float, float] = (0.8, 1.6)):
        check_probabilities('MixUp', prob=prob)
        check_intervals('MixUp', MIN_ENLARGEMENT, MAX_ENLARGEMENT, ratio_range=ratio_range)
        self.input_size, self.prob, self.ratio_range = input_size, prob, ratio_range

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() >= self.prob:
            return sample
        # The other image is put into the first one's pixels, so that the one warp of the first brings both into the
        # input.
        other, input_to_image = self.draw_other_sample(sample), np.linalg.inv(sample.image_to_input)
        matrix = input_to_image @ self._draw_image_to_input(other, sample.rng)
        # Both images may be flipped, and a flip of a flip is none: the determinant counts them.
        if np.linalg.det(matrix) < 0:
            other = _flip_keypoints(other)
        first_tile = Tile(sample.image, np.eye(3), _size_to_box(sample.image_size))
        other_tile = Tile(other.image, matrix, _find_image_box(other, matrix))
        if isinstance(sample.image, ImageMosaic):
            mosaic = sample.image
        else:
            mosaic = ImageMosaic(sample.image_size, (first_tile,))
        mosaic = replace(mosaic, overlays=(*mosaic.overlays, ImageMosaic(mosaic.size, (other_tile,))))
        return _merge_samples(sample, [sample, other], [first_tile, other_tile], mosaic)

    def _draw_image_to_input(self, other: Sample, rng: np.random.Generator) -> np.ndarray:
        """Draw the (3, 3) matrix from the other image's pixels to the input's."""
        factor = float(min(np.array(self.input_size) / other.image_size) * rng.uniform(*self.ratio_range))
        flip = flip_matrix(other.image_size[0]) if rng.random() < 0.5 else np.eye(3)
        free_space = np.array(self.input_size) - np.array(other.image_size) * factor  # negative: it covers the input
        left, top = rng.uniform(0, 1, 2) * free_space - _HALF_PIXEL
        to_corner = translation_matrix(_HALF_PIXEL, _HALF_PIXEL)
        return translation_matrix(float(left), float(top)) @ scaling_matrix(factor) @ to_corner @ flip


def _size_to_box(size: Size) -> np.ndarray:
    """Return the box (4,) xyxy of an image, from border to border."""
    return np.array([-_HALF_PIXEL, -_HALF_PIXEL, size[0] - _HALF_PIXEL, size[1] - _HALF_PIXEL])


def _find_image_box(sample: Sample, matrix: np.ndarray) -> np.ndarray:
    """Return the box (4,) xyxy around a sample's image after a matrix (3, 3)."""
    return transform_boxes(matrix, _size_to_box(sample.image_size)[None])[0]


def _flip_keypoints(sample: Sample) -> Sample:
    """Return a sample with left and right keypoints exchanged, for a matrix that flips it."""
    order = sample.skeleton.flip_indices
    return replace(sample, keypoints=sample.keypoints[:, order], visible=sample.visible[:, order])


def _merge_samples(sample: Sample, sources: Sequence[Sample], tiles: Sequence[Tile], mosaic: ImageMosaic) -> Sample:
    """Return a sample of a mosaic with the instances of all its images; keypoints outside their tile are unlabeled."""
    parts = [_transform_annotations(source, tile) for source, tile in zip(sources, tiles, strict=True)]
    instances = Instances.concatenate([part for part, _ in parts])
    record = replace(
        sample.record,
        instances=instances,
        ignored=IgnoredRegions.concatenate([ignored for _, ignored in parts]),
        # Where one image's data set does not annotate a keypoint, its absence in the mosaic says nothing.
        annotated_keypoints=np.logical_and.reduce([s.record.annotated_keypoints for s in sources]),
        # The image is no file any more, and the annotations of one tile are not those of the mosaic.
        ground_truth=None,
        byte_range=None,
    )
    return replace(sample, image=mosaic, record=record, keypoints=instances.keypoints, visible=instances.visible)


def _transform_annotations(sample: Sample, tile: Tile) -> tuple[Instances, IgnoredRegions]:
    """Return the instances and the ignored regions of a sample in mosaic px, cut off at the tile's region."""
    record, matrix, region = sample.record, tile.image_to_mosaic, tile.region
    instances = replace(record.instances, keypoints=sample.keypoints, visible=sample.visible).transform(matrix)
    inside = ((instances.keypoints >= region[:2]) & (instances.keypoints <= region[2:])).all(axis=-1)
    instances = replace(
        instances,
        keypoints=instances.keypoints.astype(np.float32),
        visible=np.where(inside, instances.visible, 0).astype(np.uint8),
        boxes=clip_boxes_to_region(instances.boxes, region),
        # A box that was cut off does not follow from the keypoints any more.
        has_box=np.ones(len(instances), dtype=bool),
    )
    ignored = record.ignored.transform(matrix)
    return instances, replace(ignored, boxes=clip_boxes_to_region(ignored.boxes, region))
