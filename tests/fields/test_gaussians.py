import math

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.fields.gaussians import (
    draw_blurred_cells,
    draw_gaussians,
    draw_thresholded_gaussians,
    fill_background,
    merge_heatmaps,
    reaches_grid,
    round_to_cells,
)

SIZE = (24, 18)


def random_keypoints(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints (2, N, 5, 2) in and around the grid, of which some are masked."""
    generator = torch.Generator().manual_seed(count)
    keypoints = torch.rand(2, count, 5, 2, generator=generator) * torch.tensor([35.0, 27.5]) - 5
    return keypoints, torch.rand(2, count, 5, generator=generator) > 0.2


@pytest.mark.parametrize('merge_mode', ['max', 'add'])
@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('min_value', [0.01, 0.3])
def test_drawing_only_the_cells_in_reach_equals_whole_heatmaps_that_are_thresholded(merge_mode, count, min_value):
    keypoints, mask = random_keypoints(count)
    whole = draw_gaussians(keypoints, mask, SIZE, 1.25)
    expected = merge_heatmaps(torch.where(whole > min_value, whole, 0.0), merge_mode)
    expected = torch.cat([expected, (1 - expected.amax(1, keepdim=True)).clamp(min=0)], dim=1)
    settings = (keypoints, mask, SIZE, 1.25, min_value, merge_mode)
    assert_close(draw_thresholded_gaussians(*settings, background=True), expected)
    assert_close(draw_thresholded_gaussians(*settings, background=False), expected[:, :-1])


def test_a_gaussian_is_the_product_of_its_two_axes():
    heatmaps = draw_gaussians(torch.tensor([[[[9.875, 7.125]]]]), torch.tensor([[[True]]]), SIZE, 1.5)[0, 0, 0]
    for row, column in ((7, 10), (0, 0), (17, 3)):
        squared = (column - 9.875) ** 2 + (row - 7.125) ** 2
        assert heatmaps[row, column].item() == pytest.approx(math.exp(-squared / 4.5), abs=1e-7)


def test_a_masked_keypoint_leaves_zeros():
    keypoints = torch.full((1, 1, 1, 2), math.nan)
    assert not draw_gaussians(keypoints, torch.tensor([[[False]]]), SIZE, 1.5).any()


def test_the_background_is_written_into_the_last_heatmap():
    heatmaps = torch.tensor([0.25, 0.75, 9.0]).view(1, 3, 1, 1)
    assert fill_background(heatmaps).flatten().tolist() == [0.25, 0.75, 0.25]


def test_a_keypoint_reaches_the_grid_up_to_three_sigma_and_a_cell_beyond_the_outermost_cells():
    x = torch.tensor([-7.0, -7.1, 0.0, 47.0, 47.0 + 6.9, 47.0 + 7.0])  # 3 sigma + 1 cell = 7
    cells = torch.stack([x, torch.full_like(x, 25.0)], dim=-1)
    assert reaches_grid(cells, (48, 64), 2.0).tolist() == [True, False, True, True, True, False]


def test_the_nearest_cell_is_half_a_cell_away_and_before_the_first_one_it_is_rounded_towards_it():
    cells = torch.tensor([2.49, 2.5, 0.0, -0.4, -1.4, -1.6])
    assert round_to_cells(cells).tolist() == [2, 3, 0, 0, 0, -1]


def test_a_truncated_gaussian_is_drawn_within_3_sigma_of_its_center_and_is_0_beside():
    cells, mask = torch.tensor([[[[9.25, 6.0]]]]), torch.tensor([[[True]]])
    whole = draw_gaussians(cells, mask, SIZE, 1.5)[0, 0, 0]
    square = draw_gaussians(cells, mask, SIZE, 1.5, round_to_cells(cells))[0, 0, 0]
    assert_close(square[2:11, 5:14], whole[2:11, 5:14])  # 4.5 cells around (9, 6)
    square[2:11, 5:14] = 0
    assert not square.any()


@pytest.mark.parametrize('kernel_size', [3, 7, 11])
@pytest.mark.parametrize(('x', 'y'), [(12, 9), (0, 0), (1, 16), (23, 17)])
def test_a_blurred_cell_is_one_cell_blurred_by_opencv_and_scaled_to_a_peak_of_1(kernel_size, x, y):
    point = np.zeros((18, 24), np.float32)
    point[y, x] = 1
    blurred = cv2.GaussianBlur(point, (kernel_size, kernel_size), 0)
    drawn = draw_blurred_cells(torch.tensor([[[[x, y]]]]).float(), torch.tensor([[[True]]]), SIZE, kernel_size)[0, 0, 0]
    np.testing.assert_allclose(drawn, blurred / blurred.max(), atol=1e-6)


def test_a_masked_blurred_cell_leaves_zeros():
    assert not draw_blurred_cells(torch.full((1, 1, 1, 2), math.nan), torch.tensor([[[False]]]), SIZE, 7).any()
