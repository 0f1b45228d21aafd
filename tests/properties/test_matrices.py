"""Laws of the one matrix."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseplug.geometry import (
    about,
    apply,
    enlargement,
    extent,
    middle,
    mirroring,
    place,
    rotation,
    scaling,
    translation,
)
from poseplug.poses import Poses
from tests.properties.laws import LAW, degrees, finite, points, positive, sizes


def close(a, b, atol=1e-6):
    return np.allclose(a, b, rtol=1e-9, atol=atol)


@LAW
@given(finite, finite, points())
def test_a_shift_and_back_is_nothing(dx, dy, p):
    assert close(apply(translation(-dx, -dy), apply(translation(dx, dy), p)), p)


@LAW
@given(finite, finite, finite, finite)
def test_shifts_add(a, b, c, d):
    assert close(translation(a, b) @ translation(c, d), translation(a + c, b + d))


@LAW
@given(positive, points())
def test_larger_and_smaller_is_nothing(factor, p):
    assert close(apply(scaling(1 / factor), apply(scaling(factor), p)), p)


@LAW
@given(degrees, points())
def test_a_turn_and_back_is_nothing(angle, p):
    assert close(apply(rotation(-angle), apply(rotation(angle), p)), p)


@LAW
@given(degrees, points(2))
def test_a_turn_keeps_distances(angle, p):
    turned = apply(rotation(angle), p)
    assert close(np.linalg.norm(turned[0] - turned[1]), np.linalg.norm(p[0] - p[1]))


@LAW
@given(degrees, degrees)
def test_turns_add(a, b):
    assert close(rotation(a) @ rotation(b), rotation(a + b))


@LAW
@given(degrees)
def test_a_positive_quarter_goes_from_x_to_y(angle):
    assert close(apply(rotation(angle + 90), np.array([[1.0, 0]])), apply(rotation(angle), np.array([[0.0, 1]])))


@LAW
@given(st.integers(1, 1000), points())
def test_a_mirror_twice_is_nothing(width, p):
    assert close(apply(mirroring(width), apply(mirroring(width), p)), p)


@LAW
@given(sizes)
def test_a_mirror_keeps_the_middle_and_exchanges_the_edges(size):
    mirrored = apply(mirroring(size[0]), np.array([middle(size), (0, 0), (size[0] - 1, 0)]))
    assert close(mirrored, [middle(size), (size[0] - 1, 0), (0, 0)])


@LAW
@given(degrees, positive, st.tuples(finite, finite))
def test_what_is_done_about_a_point_keeps_it(angle, factor, point):
    assert close(apply(about(rotation(angle) @ scaling(factor), point), np.array([point])), [point])


@LAW
@given(st.tuples(finite, finite), positive, sizes)
def test_placing_brings_the_centre_to_the_middle(center, factor, size):
    assert close(apply(place(center, factor, size), np.array([center])), [middle(size)])


@LAW
@given(st.tuples(finite, finite), positive, sizes, points())
def test_a_placed_point_comes_back_through_the_inverse(center, factor, size, p):
    matrix = place(center, factor, size)
    assert close(apply(np.linalg.inv(matrix), apply(matrix, p)), p)


@LAW
@given(degrees, positive, finite, finite, st.integers(1, 300))
def test_the_enlargement_is_that_of_scaling_alone(angle, factor, dx, dy, width):
    matrix = mirroring(width) @ translation(dx, dy) @ rotation(angle) @ scaling(factor)
    assert np.isclose(enlargement(matrix), factor)


@LAW
@given(degrees, positive, points(), points())
def test_matrices_multiply_as_points_go_through_them(angle, factor, p, q):
    one, other = rotation(angle) @ translation(*q[0]), scaling(factor)
    assert close(apply(other, apply(one, p)), apply(other @ one, p))


@LAW
@given(points())
def test_everything_lies_within_its_extent_which_it_touches(p):
    low, high = extent(p)
    assert (p >= low).all()
    assert (p <= high).all()
    assert all(low[i] in p[:, i] and high[i] in p[:, i] for i in (0, 1))


@LAW
@given(degrees, positive, points(1, 6))
def test_poses_move_as_points_do_in_numpy_and_torch(angle, factor, p):
    matrix = rotation(angle) @ scaling(factor)
    keypoints, ones = p[None], np.ones((1, len(p)))
    moved = Poses(keypoints, ones, ones[:, 0]).moved(matrix).keypoints
    tensors = Poses(torch.from_numpy(keypoints), torch.from_numpy(ones), torch.ones(1)).moved(matrix).keypoints
    assert close(moved[0], apply(matrix, p))
    assert close(tensors.numpy(), moved)


@LAW
@given(degrees, points(4, 8))
def test_a_moved_box_holds_what_it_held(angle, p):
    box = np.concatenate(extent(p))[None]
    moved = Poses(p[None], np.ones((1, len(p))), np.ones(1), boxes=box).moved(rotation(angle))
    assert (moved.keypoints[0] >= moved.boxes[0, :2] - 1e-9).all()
    assert (moved.keypoints[0] <= moved.boxes[0, 2:] + 1e-9).all()
