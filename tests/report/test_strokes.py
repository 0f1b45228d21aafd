"""Lines, dots and boxes: the same pixels wherever they are, and ends as far outside as one likes."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.report.draw import draw_poses
from poseplug.report.strokes import SUBPIXEL_BITS, clip_segment, draw_box, draw_dot, draw_line, to_fixed_point

PAIR = Skeleton('pair', keypoints=('left_hand', 'right_hand'), limbs=(('left_hand', 'right_hand'),))


@given(st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_a_point_is_exact_to_half_a_sixteenth_of_a_pixel(x, y):
    point = to_fixed_point(np.array([x, y], np.float64))
    assert all(type(v) is int for v in point)
    assert np.abs(np.array(point) / (1 << SUBPIXEL_BITS) - (x, y)).max() <= 1 / 32


@pytest.mark.parametrize('shape', [(150, 20_000), (150, 70_000), (40_000, 90)])
def test_a_person_far_from_the_origin_is_drawn_as_one_near_it(shape):
    offset = np.array(shape[::-1]) - 90
    points = np.array([[[20.25, 30.5], [60.75, 70]]])
    near = draw_poses(np.zeros((90, 90, 3), np.uint8), build_poses(points), PAIR, min_side_px=0)
    far = draw_poses(np.zeros((*shape, 3), np.uint8), build_poses(points + offset), PAIR, min_side_px=0)
    assert near.any()
    assert np.array_equal(far[-90:, -90:], near)
    far[-90:, -90:] = 0
    assert not far.any()


def build_poses(points):
    boxes = np.concatenate([points.min(1) - 8, points.max(1) + 8], axis=1)
    return Poses(points, np.ones(points.shape[:2]), np.ones(len(points)), boxes=boxes)


def test_a_line_across_a_whole_panorama_is_straight():
    canvas = np.zeros((200, 40_000, 3), np.uint8)
    draw_line(canvas, np.array([100.0, 20]), np.array([39_900.0, 180]), (255, 255, 255), 3)
    for x in (1000, 16_384, 20_000, 32_768, 39_000):
        rows = np.flatnonzero(canvas[:, x, 0])
        assert rows.mean() == pytest.approx(20 + 160 * (x - 100) / 39_800, abs=0.6)


@pytest.mark.parametrize('distance', [2e4, 1.2e5, 1e6, 1e9, 1e12])
def test_a_line_to_an_end_far_outside_keeps_its_direction(distance):
    start, direction = np.array([20.0, 30]), np.array([0.8, 0.6])
    canvas = np.zeros((100, 100, 3), np.uint8)
    draw_line(canvas, start - distance * direction, start + distance * direction, (255, 255, 255), 3)
    for x in range(5, 95):
        rows = np.arange(100) @ canvas[:, x, 0] / canvas[:, x, 0].sum()
        assert rows == pytest.approx(30 + (x - 20) * 0.75, abs=0.3)
    draw_line(canvas, start, start + distance**2 * direction, (0, 0, 0), 12)
    assert canvas[:20].any()
    assert not canvas[60:].any()


@pytest.mark.parametrize('end', [(1e20, 50), (50, -1e20), (-1e20, -1e20)])
def test_what_lies_outside_is_not_drawn(end):
    canvas = np.zeros((40, 40, 3), np.uint8)
    draw_line(canvas, np.array(end, float), np.array(end, float) + 100, (255, 255, 255), 2)
    draw_dot(canvas, np.array(end, float), (255, 255, 255), 4)
    assert not canvas.any()


def test_a_box_larger_than_the_canvas_shows_the_sides_within():
    canvas, near = np.zeros((2, 40, 40, 3), np.uint8)
    draw_box(canvas, np.array([[10.0, -1e12], [1e12, 30]]), (255, 255, 255))
    draw_box(near, np.array([[10.0, -3], [43, 30]]), (255, 255, 255))
    assert np.array_equal(canvas, near)
    assert canvas[:25, 10].all()


@given(*[st.tuples(st.floats(-300, 300), st.floats(-300, 300))] * 2)
@example((0.0, 0.0), (0.0, 2e-309))  # the quotient is beyond the largest number
def test_a_clipped_segment_is_the_part_within(a, b):
    a, b = np.array(a), np.array(b)
    low, high = np.array([-20.0, -30]), np.array([50.0, 80])
    fractions = np.linspace(0, 1, 2001)[:, None]
    points = a + fractions * (b - a)
    within = points[((points >= low) & (points <= high)).all(axis=1)]
    ends = clip_segment(a, b, low, high)
    if ends is None:
        assert not len(within)
    else:
        assert (np.stack(ends) >= low - 1e-9).all()
        assert (np.stack(ends) <= high + 1e-9).all()
        tolerance = 1e-9 + np.abs(b - a).max() / 2000
        assert not len(within) or np.abs(np.stack(ends) - within[[0, -1]]).max() <= tolerance
