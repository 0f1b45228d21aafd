import numpy as np
import pytest
import torch

from poseplug.core.geometry import (
    bounding_corners,
    conjugate_about,
    crop_matrix,
    flip_matrix,
    image_center,
    rotation_matrix,
    scale_of_matrix,
    scaling_matrix,
    transform_points,
    translation_matrix,
)

POINTS = np.array([[0.0, 0.0], [10.0, 20.0], [-3.5, 7.25]])


def test_a_rotation_by_90_degrees_takes_x_to_y_clockwise_on_the_screen():
    np.testing.assert_allclose(transform_points(rotation_matrix(90), np.array([1.0, 0.0])), [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    ('matrix', 'inverse'),
    [
        (translation_matrix(3, -4), translation_matrix(-3, 4)),
        (scaling_matrix(2.5), scaling_matrix(0.4)),
        (rotation_matrix(33), rotation_matrix(-33)),
        (flip_matrix(101), flip_matrix(101)),
        (
            conjugate_about(rotation_matrix(20) @ scaling_matrix(1.3), (5, 6)),
            conjugate_about(scaling_matrix(1 / 1.3) @ rotation_matrix(-20), (5, 6)),
        ),
    ],
)
def test_every_matrix_is_undone_by_its_inverse(matrix, inverse):
    np.testing.assert_allclose(transform_points(inverse, transform_points(matrix, POINTS)), POINTS, atol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(matrix), inverse, atol=1e-12)


def test_a_flip_exchanges_the_first_and_the_last_pixel():
    np.testing.assert_array_equal(
        transform_points(flip_matrix(368), np.array([[0.0, 5.0], [367.0, 5.0]])), [[367, 5], [0, 5]]
    )


def test_the_center_lies_half_way_between_the_first_and_the_last_pixel():
    assert image_center((368, 5)) == (183.5, 2.0)
    np.testing.assert_array_equal(
        transform_points(flip_matrix(368), np.array(image_center((368, 5)))), image_center((368, 5))
    )


def test_a_rotation_about_a_point_keeps_the_point():
    np.testing.assert_allclose(
        transform_points(conjugate_about(rotation_matrix(70) @ scaling_matrix(3), (12, -8)), np.array([12.0, -8.0])),
        [12, -8],
    )


def test_a_crop_has_its_center_in_the_middle_and_is_scaled_about_it():
    matrix = crop_matrix((50, 40), 2.0, (101, 81))
    np.testing.assert_array_equal(
        transform_points(matrix, np.array([[50.0, 40.0], [53.0, 40.0]])), [[50, 40], [56, 40]]
    )


def test_the_right_matrix_of_a_product_is_applied_first():
    both = transform_points(translation_matrix(1, 0) @ scaling_matrix(2), POINTS)
    np.testing.assert_array_equal(both, POINTS * 2 + [1, 0])


@pytest.mark.parametrize(
    'matrix', [scaling_matrix(1.7), scaling_matrix(1.7) @ rotation_matrix(25), flip_matrix(9) @ scaling_matrix(1.7)]
)
def test_the_scale_of_a_matrix_does_not_depend_on_rotations_and_flips(matrix):
    assert scale_of_matrix(matrix) == pytest.approx(1.7)


def test_the_bounding_corners_are_the_lowest_and_the_highest_of_each_axis():
    low, high = bounding_corners(POINTS)
    assert (low.tolist(), high.tolist()) == ([-3.5, 0.0], [10.0, 20.0])


def test_tensors_are_transformed_with_their_own_type_by_arrays_and_by_tensors():
    matrix = conjugate_about(rotation_matrix(20) @ scaling_matrix(1.3), (5, 6))
    points = torch.from_numpy(POINTS).float()
    transformed = transform_points(matrix, points)
    assert transformed.dtype == torch.float32
    assert torch.equal(transformed, transform_points(torch.from_numpy(matrix), points))
    np.testing.assert_allclose(transformed, transform_points(matrix, POINTS), rtol=1e-5)
