"""The contract of a transform."""

from __future__ import annotations

__all__ = ['TransformContract']

import copy
import pickle
import random
from typing import Any, ClassVar

import numpy as np
import torch

from poseplug.core.geometry import Size, transform_points
from poseplug.core.sample import Sample
from poseplug.data.transforms.base import Transform
from poseplug.testing.base import Contract
from poseplug.testing.samples import create_test_sample, list_record_values


class TransformContract(Contract):
    """Laws of a transform of one image: `build_part(input_size)` returns it.

    Attributes:
        input_size: (width, height) of the network's input.
        changes_colors: Whether it changes colors, so that the warped input no longer equals the image.
        moves_keypoints_out: Whether it moves keypoints out of the input, because their part of it is lost.

    Example:
        >>> from poseplug.data.transforms.augment import RandomFlip
        >>> class TestRandomFlip(TransformContract):
        ...     def build_part(self, input_size):
        ...         return RandomFlip(input_size)
        >>> TestRandomFlip().test_it_keeps_no_state_between_samples()
    """

    input_size: ClassVar[Size] = (48, 64)
    changes_colors: ClassVar[bool] = False
    moves_keypoints_out: ClassVar[bool] = False

    def build_part(self, input_size: Size) -> Transform:
        return super().build_part(input_size)

    def preceding_transforms(self) -> list[Transform]:
        """Return the transforms that stand before it in a pipeline."""
        return []

    def create_sample(self, seed: int = 0) -> Sample:
        """Return the sample that reaches the transform: an image whose blue is 2x and green 2y, with two instances."""
        sample = create_test_sample(seed)
        for transform in self.preceding_transforms():
            sample = transform(sample)
        # Anew, whatever the preceding transforms have drawn.
        sample.rng = np.random.Generator(np.random.Philox(seed))
        return sample

    def test_it_draws_from_the_samples_generator_alone(self) -> None:
        transform = self.build_part(self.input_size)
        # The global generators are those of a process: a sample would depend on the worker that loads it.
        first, states = transform(self.create_sample()), _get_global_rng_states()
        second = transform(self.create_sample())
        assert states == _get_global_rng_states()
        _assert_same_sample(first, second)

    def test_it_keeps_no_state_between_samples(self) -> None:
        used, fresh = self.build_part(self.input_size), self.build_part(self.input_size)
        # Workers see samples in any order.
        used(self.create_sample(seed=1))
        _assert_same_sample(used(self.create_sample(seed=2)), fresh(self.create_sample(seed=2)))

    def test_it_does_not_change_the_record(self) -> None:
        # Records are shared by all epochs: a change in place would add up.
        sample = self.create_sample()
        record, before = sample.record, copy.deepcopy(sample.record)
        self.build_part(self.input_size)(sample)
        np.testing.assert_equal(list_record_values(record), list_record_values(before))

    def test_matrix_and_keypoints_agree(self) -> None:
        transform = self.build_part(self.input_size)
        for seed in range(8):
            before, after = self.create_sample(seed), transform(self.create_sample(seed))
            for matrix in (after.image_to_input, *after.view_matrices):
                _assert_affine(matrix)
            # A negative determinant is a flip, after which left and right keypoints are exchanged.
            flipped = np.linalg.det(after.image_to_input) * np.linalg.det(before.image_to_input) < 0
            order = before.skeleton.flip_indices if flipped else slice(None)
            np.testing.assert_array_equal(after.visible, before.visible[:, order])
            labeled = after.visible > 0
            if self.moves_keypoints_out:
                labeled &= _find_shown_keypoints(after, self.input_size)
            np.testing.assert_allclose(after.keypoints[labeled], before.keypoints[:, order][labeled])

    def test_the_input_shows_the_image_where_the_matrix_maps_it(self) -> None:
        sample = self.build_part(self.input_size)(self.create_sample())
        if not sample.is_warped or self.changes_colors:
            return
        assert sample.inputs.shape[1:] == (self.input_size[1], self.input_size[0], 3)
        for view, matrix in zip(sample.inputs, [sample.image_to_input, *sample.view_matrices], strict=True):
            _assert_view_shows_image(view, matrix, sample.image_size)

    def test_it_survives_pickling(self) -> None:
        transform = self.build_part(self.input_size)
        loaded = pickle.loads(pickle.dumps(transform))
        _assert_same_sample(loaded(self.create_sample()), transform(self.create_sample()))


def _get_global_rng_states() -> tuple[Any, ...]:
    """The states of the global generators of Python, NumPy and torch."""
    return random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()


def _assert_same_sample(one: Sample, other: Sample) -> None:
    """Assert that two samples agree in everything that a transform may change."""
    for name in ('image_to_input', 'view_matrices', 'keypoints', 'visible', 'inputs', 'image'):
        np.testing.assert_equal(getattr(one, name), getattr(other, name))


def _find_shown_keypoints(sample: Sample, input_size: Size) -> np.ndarray:
    """Return which keypoints (N, K) are inside the input."""
    points = transform_points(sample.image_to_input, sample.keypoints.astype(float))
    shown: np.ndarray = ((points >= 0) & (points <= np.array(input_size) - 1)).all(axis=-1)
    return shown


def _assert_affine(matrix: np.ndarray) -> None:
    """Assert that a matrix (3, 3) is affine and has an inverse."""
    assert matrix.shape == (3, 3)
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(matrix[2], [0, 0, 1])
    assert abs(np.linalg.det(matrix)) > 1e-9


def _assert_view_shows_image(view: np.ndarray, matrix: np.ndarray, image_size: Size) -> None:
    """Assert that a view of the test image has the right color at every pixel that lies 3 px inside the image."""
    y, x = np.mgrid[: view.shape[0], : view.shape[1]]
    positions = transform_points(np.linalg.inv(matrix), np.stack([x, y], axis=-1).astype(float))
    # 3 px inside the image, where no interpolation mixes in the fill color.
    inside = ((positions >= 3) & (positions <= np.array(image_size) - 4)).all(axis=-1)
    assert inside.any(), 'the input shows nothing of the image'
    np.testing.assert_allclose(view[inside][:, :2], 2 * positions[inside], atol=2.5)
