from dataclasses import replace

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import crop_matrix, transform_points
from poseplug.fields.grid import Grid
from poseplug.fields.heatmap_stages import HeatmapStages
from poseplug.report.heatmaps import (
    blend_colors,
    distinct_colors,
    draw_heatmap,
    draw_heatmap_strips,
    draw_stage_heatmaps,
    draw_stage_images,
    find_heatmap_channel,
    resize_matrix,
    warp_field_to_image,
)

GRID = Grid((8, 8), (64, 64), 8, 3.5)
KEYPOINTS = ('left_hand', 'right_hand', 'nose')


def spot(column, row, size=8):
    """A field (size, size) with one cell of 1."""
    field = np.zeros((size, size), np.float32)
    field[row, column] = 1
    return field


def random_image(width=64, height=64):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def find_peak(values):
    """The mean (x, y) of the highest values: between cells they fall off evenly to both sides."""
    rows, columns = np.nonzero(values >= values.max() - 1e-6)
    return columns.mean(), rows.mean()


@pytest.fixture
def stages():
    heatmaps = tuple(np.stack([spot(2, 3), spot(5, 3), spot(4, 1 + t), spot(0, 0)]) for t in range(2))
    image_to_input = crop_matrix((40, 30), 0.8, (64, 64))
    return HeatmapStages(random_image(90, 70), random_image(), image_to_input, heatmaps, KEYPOINTS, GRID)


@pytest.mark.parametrize(('column', 'row'), [(0, 0), (3, 5), (7, 2)])
def test_a_cell_is_drawn_at_its_position_in_the_input(column, row):
    x, y = find_peak(warp_field_to_image(random_image(), spot(column, row), GRID))
    assert (x, y) == pytest.approx((8 * column + 3.5, 8 * row + 3.5), abs=0.5)


def test_through_a_matrix_a_cell_is_drawn_at_its_position_in_the_image():
    image_to_input = crop_matrix((40, 30), 0.8, (64, 64))
    x, y = find_peak(warp_field_to_image(random_image(90, 70), spot(3, 5), GRID, image_to_input))
    expected = transform_points(np.linalg.inv(image_to_input), np.array([8 * 3 + 3.5, 8 * 5 + 3.5]))
    assert np.abs(np.array([x, y]) - expected).max() < 1


def test_an_empty_heatmap_leaves_the_subdued_image():
    image = random_image()
    subdued = blend_colors(image, image, np.zeros((64, 64)))
    assert (draw_heatmap(image, np.zeros((8, 8)), GRID) == subdued).all()
    assert (draw_stage_heatmaps(image, np.zeros((3, 8, 8)), GRID) == subdued).all()


def test_a_stage_has_its_own_hue_for_each_keypoint():
    drawn = draw_stage_heatmaps(np.zeros((64, 64, 3), np.uint8), np.stack([spot(1, 1), spot(6, 6)]), GRID, alpha=1.0)
    for pixel, hue in zip((11, 51), distinct_colors(2), strict=True):
        color = drawn[pixel, pixel].astype(float)
        assert np.argmax(color) == np.argmax(hue)


def test_a_stage_of_more_than_128_heatmaps_is_drawn():
    heatmaps = np.random.default_rng(0).random((134, 8, 8)).astype(np.float32)
    assert draw_stage_heatmaps(random_image(), heatmaps, GRID).shape == (64, 64, 3)


def test_a_strip_has_a_row_per_stage_and_a_column_per_keypoint(stages):
    single, every = draw_heatmap_strips(stages, ['nose'], height_px=64), draw_heatmap_strips(stages, height_px=64)
    assert single.shape[0] == every.shape[0]
    assert every.shape[1] - single.shape[1] == 2 * (64 + 4)
    one_stage = replace(stages, heatmaps=stages.heatmaps[:1])
    assert (single.shape[0] - 4) == 2 * (draw_heatmap_strips(one_stage, ['nose'], height_px=64).shape[0] - 4)


def test_whole_images_are_drawn_one_per_stage_and_large_enough(stages):
    for keypoint in (None, 'nose', 'background'):
        drawn = draw_stage_images(stages, keypoint)
        assert len(drawn) == 2
        assert max(drawn[0].shape) >= 480


def test_resizing_keeps_the_edges_of_an_image():
    edges = np.array([[-0.5, -0.5], [9.5, 4.5]])
    assert np.allclose(transform_points(resize_matrix(3, 2), edges), [[-0.5, -0.5], [29.5, 9.5]])


def test_an_unknown_keypoint_is_an_error_with_the_closest_name(stages):
    assert find_heatmap_channel(stages, 'background') == 3
    with pytest.raises(ConfigError, match="closest: 'left_hand'"):
        find_heatmap_channel(stages, 'left_hnd')
