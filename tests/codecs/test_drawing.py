import math

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.drawing import cut_gaussians, fill_background, gaussians, merge, near, nearest, spots

SIZE = (24, 18)


def joints(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (2, N, 5, 2) in and around the grid, of which some are not drawn."""
    chance = torch.Generator().manual_seed(count)
    keypoints = torch.rand(2, count, 5, 2, generator=chance) * torch.tensor([35.0, 27.5]) - 5
    return keypoints, torch.rand(2, count, 5, generator=chance) > 0.2


@pytest.mark.parametrize('how', ['max', 'add'])
@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('cut', [0.01, 0.3])
def test_drawing_only_the_cells_that_are_reached_gives_the_whole_maps_cut(how, count, cut):
    keypoints, drawn = joints(count)
    whole = gaussians(keypoints, drawn, SIZE, 1.25)
    wanted = merge(torch.where(whole > cut, whole, 0.0), how)
    wanted = torch.cat([wanted, (1 - wanted.amax(1, keepdim=True)).clamp(min=0)], dim=1)
    assert_close(cut_gaussians(keypoints, drawn, SIZE, 1.25, cut, how, background=True), wanted)
    assert_close(cut_gaussians(keypoints, drawn, SIZE, 1.25, cut, how, background=False), wanted[:, :-1])


def test_a_gaussian_is_the_product_of_its_two_axes():
    maps = gaussians(torch.tensor([[[[9.875, 7.125]]]]), torch.tensor([[[True]]]), SIZE, 1.5)[0, 0, 0]
    for row, column in ((7, 10), (0, 0), (17, 3)):
        squared = (column - 9.875) ** 2 + (row - 7.125) ** 2
        assert maps[row, column].item() == pytest.approx(math.exp(-squared / 4.5), abs=1e-7)


def test_a_joint_that_is_not_drawn_leaves_zeros():
    keypoints = torch.full((1, 1, 1, 2), math.nan)
    assert not gaussians(keypoints, torch.tensor([[[False]]]), SIZE, 1.5).any()


def test_the_background_is_written_into_the_last_map():
    maps = torch.tensor([0.25, 0.75, 9.0]).view(1, 3, 1, 1)
    assert fill_background(maps).flatten().tolist() == [0.25, 0.75, 0.25]


def test_a_joint_is_near_up_to_three_sigma_and_a_cell_beyond_the_outermost_cells():
    x = torch.tensor([-7.0, -7.1, 0.0, 47.0, 47.0 + 6.9, 47.0 + 7.0])  # 3 sigma + 1 cell = 7
    cells = torch.stack([x, torch.full_like(x, 25.0)], dim=-1)
    assert near(cells, (48, 64), 2.0).tolist() == [True, False, True, True, True, False]


def test_the_nearest_cell_is_half_a_cell_away_and_before_the_first_one_nearer_to_it():
    cells = torch.tensor([2.49, 2.5, 0.0, -0.4, -1.4, -1.6])
    assert nearest(cells).tolist() == [2, 3, 0, 0, 0, -1]


def test_a_square_of_3_sigma_is_drawn_around_its_middle_and_nothing_beside():
    cells, drawn = torch.tensor([[[[9.25, 6.0]]]]), torch.tensor([[[True]]])
    whole = gaussians(cells, drawn, SIZE, 1.5)[0, 0, 0]
    square = gaussians(cells, drawn, SIZE, 1.5, nearest(cells))[0, 0, 0]
    assert_close(square[2:11, 5:14], whole[2:11, 5:14])  # 4.5 cells around (9, 6)
    square[2:11, 5:14] = 0
    assert not square.any()


@pytest.mark.parametrize('kernel', [3, 7, 11])
@pytest.mark.parametrize(('x', 'y'), [(12, 9), (0, 0), (1, 16), (23, 17)])
def test_a_spot_is_one_cell_blurred_by_opencv_and_brought_to_a_peak_of_1(kernel, x, y):
    point = np.zeros((18, 24), np.float32)
    point[y, x] = 1
    blurred = cv2.GaussianBlur(point, (kernel, kernel), 0)
    drawn = spots(torch.tensor([[[[x, y]]]]).float(), torch.tensor([[[True]]]), SIZE, kernel)[0, 0, 0]
    np.testing.assert_allclose(drawn, blurred / blurred.max(), atol=1e-6)


def test_a_spot_that_is_not_drawn_leaves_zeros():
    assert not spots(torch.full((1, 1, 1, 2), math.nan), torch.tensor([[[False]]]), SIZE, 7).any()
