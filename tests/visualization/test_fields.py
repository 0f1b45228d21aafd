import numpy as np
import pytest

from poseplug.codecs.base import Grid
from poseplug.errors import ConfigError
from poseplug.geometry import apply, place
from poseplug.inference.predictor import Beliefs
from poseplug.visualization.fields import (
    blend,
    channel,
    hues,
    onto,
    overlay,
    resizing,
    stage_overlay,
    stage_pictures,
    stage_strips,
)

GRID = Grid((8, 8), (64, 64), 8, 3.5)
JOINTS = ('left_hand', 'right_hand', 'nose')


def spot(column, row, size=8):
    field = np.zeros((size, size), np.float32)
    field[row, column] = 1
    return field


def picture(width=64, height=64):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def peak(light):
    """Middle (x, y) of the highest values: between cells the light falls off evenly to both sides."""
    rows, columns = np.nonzero(light >= light.max() - 1e-6)
    return columns.mean(), rows.mean()


@pytest.fixture
def beliefs():
    maps = tuple(np.stack([spot(2, 3), spot(5, 3), spot(4, 1 + t), spot(0, 0)]) for t in range(2))
    matrix = place((40, 30), 0.8, (64, 64))
    return Beliefs(picture(90, 70), picture(), matrix, maps, JOINTS, GRID)


@pytest.mark.parametrize(('column', 'row'), [(0, 0), (3, 5), (7, 2)])
def test_a_cell_lights_up_at_its_place_in_the_input(column, row):
    x, y = peak(onto(picture(), spot(column, row), GRID))
    assert (x, y) == pytest.approx((8 * column + 3.5, 8 * row + 3.5), abs=0.5)


def test_through_a_matrix_a_cell_lights_up_where_the_picture_shows_that_place():
    matrix = place((40, 30), 0.8, (64, 64))
    x, y = peak(onto(picture(90, 70), spot(3, 5), GRID, matrix))
    wanted = apply(np.linalg.inv(matrix), np.array([8 * 3 + 3.5, 8 * 5 + 3.5]))
    assert np.abs(np.array([x, y]) - wanted).max() < 1


def test_an_empty_map_leaves_the_subdued_picture():
    image = picture()
    ground = blend(image, image, np.zeros((64, 64)))
    assert (overlay(image, np.zeros((8, 8)), GRID) == ground).all()
    assert (stage_overlay(image, np.zeros((3, 8, 8)), GRID) == ground).all()


def test_a_stage_shows_each_joint_in_its_own_hue():
    drawn = stage_overlay(np.zeros((64, 64, 3), np.uint8), np.stack([spot(1, 1), spot(6, 6)]), GRID, strength=1.0)
    for place_, hue in zip((11, 51), hues(2), strict=True):
        shown = drawn[place_, place_].astype(float)
        assert np.argmax(shown) == np.argmax(hue)


def test_a_stage_of_more_than_128_maps_is_drawn():
    maps = np.random.default_rng(0).random((134, 8, 8)).astype(np.float32)
    assert stage_overlay(picture(), maps, GRID).shape == (64, 64, 3)


def test_a_strip_has_a_row_a_stage_and_a_column_a_joint(beliefs):
    few, all_ = stage_strips(beliefs, ['nose'], side=64), stage_strips(beliefs, side=64)
    assert few.shape[0] == all_.shape[0]
    assert all_.shape[1] - few.shape[1] == 2 * (64 + 4)
    one = Beliefs(**{**vars(beliefs), 'maps': beliefs.maps[:1]})
    assert (few.shape[0] - 4) == 2 * (stage_strips(one, ['nose'], side=64).shape[0] - 4)


def test_whole_pictures_are_drawn_one_a_stage_and_large_enough(beliefs):
    for joint in (None, 'nose', 'background'):
        drawn = stage_pictures(beliefs, joint)
        assert len(drawn) == 2
        assert max(drawn[0].shape) >= 480


def test_resizing_keeps_the_edges_of_a_picture():
    edges = np.array([[-0.5, -0.5], [9.5, 4.5]])
    assert np.allclose(apply(resizing(3, 2), edges), [[-0.5, -0.5], [29.5, 9.5]])


def test_an_unknown_joint_is_an_error_with_the_closest_name(beliefs):
    assert channel(beliefs, 'background') == 3
    with pytest.raises(ConfigError, match="closest: 'left_hand'"):
        channel(beliefs, 'left_hnd')
