import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.base import Grid
from poseplug.codecs.drawing import cut_gaussians, fill_background, gaussians, merge, near

GRID = Grid((24, 18), (96, 72), 4, 1.5)


def joints(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints (2, N, 5, 2) in and around the grid, of which some are not drawn."""
    chance = torch.Generator().manual_seed(count)
    keypoints = torch.rand(2, count, 5, 2, generator=chance) * torch.tensor([140.0, 110.0]) - 20
    return keypoints, torch.rand(2, count, 5, generator=chance) > 0.2


@pytest.mark.parametrize('how', ['max', 'add'])
@pytest.mark.parametrize('count', [1, 2, 7])
@pytest.mark.parametrize('cut', [0.01, 0.3])
def test_drawing_only_the_cells_that_are_reached_gives_the_whole_maps_cut(how, count, cut):
    keypoints, drawn = joints(count)
    whole = gaussians(keypoints, drawn, GRID, 5.0)
    wanted = merge(torch.where(whole > cut, whole, 0.0), how)
    wanted = torch.cat([wanted, (1 - wanted.amax(1, keepdim=True)).clamp(min=0)], dim=1)
    assert_close(cut_gaussians(keypoints, drawn, GRID, 5.0, cut, how, background=True), wanted)
    assert_close(cut_gaussians(keypoints, drawn, GRID, 5.0, cut, how, background=False), wanted[:, :-1])


def test_a_gaussian_is_the_product_of_its_two_axes():
    maps = gaussians(torch.tensor([[[[41.0, 30.0]]]]), torch.tensor([[[True]]]), GRID, 6.0)[0, 0, 0]
    for row, column in ((7, 10), (0, 0), (17, 3)):
        squared = (4 * column + 1.5 - 41) ** 2 + (4 * row + 1.5 - 30) ** 2
        assert maps[row, column].item() == pytest.approx(math.exp(-squared / 72), abs=1e-7)


def test_a_joint_that_is_not_drawn_leaves_zeros():
    keypoints = torch.full((1, 1, 1, 2), math.nan)
    assert not gaussians(keypoints, torch.tensor([[[False]]]), GRID, 6.0).any()


def test_the_background_is_written_into_the_last_map():
    maps = torch.tensor([0.25, 0.75, 9.0]).view(1, 3, 1, 1)
    assert fill_background(maps).flatten().tolist() == [0.25, 0.75, 0.25]


def test_a_joint_is_near_up_to_three_sigma_and_a_cell_beyond_the_outermost_cells():
    grid = Grid((48, 64), (192, 256), 4)
    x = torch.tensor([-28.0, -28.1, 0.0, 188.0, 188.0 + 27.9, 188.0 + 28.0])  # 3 sigma + 1 cell = 28 px
    keypoints = torch.stack([x, torch.full_like(x, 100.0)], dim=-1)
    assert near(keypoints, grid, 8.0).tolist() == [True, False, True, True, True, False]
