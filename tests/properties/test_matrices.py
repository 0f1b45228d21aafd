"""Laws of affine matrices."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

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
from poseplug.core.poses import Poses
from tests.properties.laws import LAW, degrees, finite, points, positive, sizes


def is_close(a, b, atol=1e-6):
    return np.allclose(a, b, rtol=1e-9, atol=atol)


@LAW
@given(finite, finite, points())
def test_a_translation_and_its_reverse_are_the_identity(dx, dy, p):
    assert is_close(transform_points(translation_matrix(-dx, -dy), transform_points(translation_matrix(dx, dy), p)), p)


@LAW
@given(finite, finite, finite, finite)
def test_translations_add(a, b, c, d):
    assert is_close(translation_matrix(a, b) @ translation_matrix(c, d), translation_matrix(a + c, b + d))


@LAW
@given(positive, points())
def test_a_scaling_and_its_reverse_are_the_identity(factor, p):
    assert is_close(transform_points(scaling_matrix(1 / factor), transform_points(scaling_matrix(factor), p)), p)


@LAW
@given(degrees, points())
def test_a_rotation_and_its_reverse_are_the_identity(angle, p):
    assert is_close(transform_points(rotation_matrix(-angle), transform_points(rotation_matrix(angle), p)), p)


@LAW
@given(degrees, points(2))
def test_a_rotation_preserves_distances(angle, p):
    rotated = transform_points(rotation_matrix(angle), p)
    assert is_close(np.linalg.norm(rotated[0] - rotated[1]), np.linalg.norm(p[0] - p[1]))


@LAW
@given(degrees, degrees)
def test_rotations_add(a, b):
    assert is_close(rotation_matrix(a) @ rotation_matrix(b), rotation_matrix(a + b))


@LAW
@given(degrees)
def test_a_rotation_by_90_degrees_maps_x_to_y(angle):
    assert is_close(
        transform_points(rotation_matrix(angle + 90), np.array([[1.0, 0]])),
        transform_points(rotation_matrix(angle), np.array([[0.0, 1]])),
    )


@LAW
@given(st.integers(1, 1000), points())
def test_flipping_twice_is_the_identity(width, p):
    assert is_close(transform_points(flip_matrix(width), transform_points(flip_matrix(width), p)), p)


@LAW
@given(sizes)
def test_a_flip_preserves_the_center_and_exchanges_the_edges(size):
    flipped = transform_points(flip_matrix(size[0]), np.array([image_center(size), (0, 0), (size[0] - 1, 0)]))
    assert is_close(flipped, [image_center(size), (size[0] - 1, 0), (0, 0)])


@LAW
@given(degrees, positive, st.tuples(finite, finite))
def test_a_transform_about_a_point_preserves_it(angle, factor, point):
    assert is_close(
        transform_points(conjugate_about(rotation_matrix(angle) @ scaling_matrix(factor), point), np.array([point])),
        [point],
    )


@LAW
@given(st.tuples(finite, finite), positive, sizes)
def test_a_crop_matrix_maps_the_center_to_the_center_of_the_input(center, factor, size):
    assert is_close(transform_points(crop_matrix(center, factor, size), np.array([center])), [image_center(size)])


@LAW
@given(st.tuples(finite, finite), positive, sizes, points())
def test_the_inverse_of_a_crop_matrix_maps_points_back(center, factor, size, p):
    matrix = crop_matrix(center, factor, size)
    assert is_close(transform_points(np.linalg.inv(matrix), transform_points(matrix, p)), p)


@LAW
@given(degrees, positive, finite, finite, st.integers(1, 300))
def test_the_scale_of_a_matrix_is_that_of_its_scaling_alone(angle, factor, dx, dy, width):
    matrix = flip_matrix(width) @ translation_matrix(dx, dy) @ rotation_matrix(angle) @ scaling_matrix(factor)
    assert np.isclose(scale_of_matrix(matrix), factor)


@LAW
@given(degrees, positive, points(), points())
def test_the_product_of_matrices_transforms_like_one_after_the_other(angle, factor, p, q):
    one, other = rotation_matrix(angle) @ translation_matrix(*q[0]), scaling_matrix(factor)
    assert is_close(transform_points(other, transform_points(one, p)), transform_points(other @ one, p))


@LAW
@given(points())
def test_bounding_corners_enclose_all_points_and_touch_some(p):
    low, high = bounding_corners(p)
    assert (p >= low).all()
    assert (p <= high).all()
    assert all(low[i] in p[:, i] and high[i] in p[:, i] for i in (0, 1))


@LAW
@given(degrees, positive, points(1, 6))
def test_poses_transform_like_points_in_numpy_and_torch(angle, factor, p):
    matrix = rotation_matrix(angle) @ scaling_matrix(factor)
    keypoints, ones = p[None], np.ones((1, len(p)))
    transformed = Poses(keypoints, ones, ones[:, 0]).transform(matrix).keypoints
    tensors = Poses(torch.from_numpy(keypoints), torch.from_numpy(ones), torch.ones(1)).transform(matrix).keypoints
    assert is_close(transformed[0], transform_points(matrix, p))
    assert is_close(tensors.numpy(), transformed)


@LAW
@given(degrees, points(4, 8))
def test_a_transformed_box_encloses_the_transformed_keypoints(angle, p):
    box = np.concatenate(bounding_corners(p))[None]
    poses = Poses(p[None], np.ones((1, len(p))), np.ones(1), boxes=box).transform(rotation_matrix(angle))
    assert (poses.keypoints[0] >= poses.boxes[0, :2] - 1e-9).all()
    assert (poses.keypoints[0] <= poses.boxes[0, 2:] + 1e-9).all()
