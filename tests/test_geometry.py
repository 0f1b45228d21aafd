import numpy as np
import pytest

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

POINTS = np.array([[0.0, 0.0], [10.0, 20.0], [-3.5, 7.25]])


def test_a_quarter_turn_takes_x_to_y_clockwise_on_the_screen():
    np.testing.assert_allclose(apply(rotation(90), np.array([1.0, 0.0])), [0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    ('matrix', 'inverse'),
    [
        (translation(3, -4), translation(-3, 4)),
        (scaling(2.5), scaling(0.4)),
        (rotation(33), rotation(-33)),
        (mirroring(101), mirroring(101)),
        (about(rotation(20) @ scaling(1.3), (5, 6)), about(scaling(1 / 1.3) @ rotation(-20), (5, 6))),
    ],
)
def test_every_matrix_is_undone_by_its_opposite(matrix, inverse):
    np.testing.assert_allclose(apply(inverse, apply(matrix, POINTS)), POINTS, atol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(matrix), inverse, atol=1e-12)


def test_a_mirror_exchanges_the_first_and_the_last_pixel():
    np.testing.assert_array_equal(apply(mirroring(368), np.array([[0.0, 5.0], [367.0, 5.0]])), [[367, 5], [0, 5]])


def test_the_middle_lies_half_way_between_the_first_and_the_last_pixel():
    assert middle((368, 5)) == (183.5, 2.0)
    np.testing.assert_array_equal(apply(mirroring(368), np.array(middle((368, 5)))), middle((368, 5)))


def test_a_turn_about_a_point_keeps_the_point():
    np.testing.assert_allclose(apply(about(rotation(70) @ scaling(3), (12, -8)), np.array([12.0, -8.0])), [12, -8])


def test_place_brings_the_center_to_the_middle_and_enlarges_about_it():
    matrix = place((50, 40), 2.0, (101, 81))
    np.testing.assert_array_equal(apply(matrix, np.array([[50.0, 40.0], [53.0, 40.0]])), [[50, 40], [56, 40]])


def test_matrices_are_applied_from_the_right():
    both = apply(translation(1, 0) @ scaling(2), POINTS)
    np.testing.assert_array_equal(both, POINTS * 2 + [1, 0])


@pytest.mark.parametrize('matrix', [scaling(1.7), scaling(1.7) @ rotation(25), mirroring(9) @ scaling(1.7)])
def test_the_enlargement_is_seen_through_turns_and_mirrors(matrix):
    assert enlargement(matrix) == pytest.approx(1.7)


def test_the_extent_is_the_lowest_and_the_highest_of_each_axis():
    low, high = extent(POINTS)
    assert (low.tolist(), high.tolist()) == ([-3.5, 0.0], [10.0, 20.0])
