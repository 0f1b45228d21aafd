"""Fields of limbs in colours, and what is made of them step by step."""

import numpy as np
import pytest
import torch

from poseplug.codecs.base import Grid
from poseplug.codecs.paf import PAF
from poseplug.geometry import about, scaling
from poseplug.grouping.limbs import Pairs
from poseplug.grouping.peaks import Peaks
from poseplug.inference.predictor import Beliefs
from poseplug.skeletons.lsp import LSP
from poseplug.visualization.draw import SIDES
from poseplug.visualization.limbs import (
    direction_colors,
    direction_wheel,
    draw_candidates,
    draw_peaks,
    limb_overlay,
    parsing_sheet,
)

GRID = Grid.of_stride((64, 48), 8, 3.5)
DARK = np.zeros((48, 64, 3), np.uint8)


def hue(color: np.ndarray) -> str:
    """The strongest of blue, green and red."""
    return 'bgr'[int(np.argmax(color))]


def test_directions_have_the_colours_of_the_wheel_and_opposite_ones_differ_most():
    right, down, left, up = direction_colors(np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], float))
    assert hue(right) == 'r'
    assert right[0] == right[1] < 40
    assert down[1] == 255  # between red and green
    assert left[2] < 40
    for one, other in ((right, left), (down, up)):
        assert np.abs(one + other - 255 - 25).max() <= 3, 'their sum is grey'


def test_the_wheel_is_a_disc_whose_right_is_red_and_whose_colours_do_not_depend_on_length():
    colors, disc = direction_wheel(41)
    assert hue(colors[20, 40]) == hue(colors[20, 25]) == 'r'
    assert disc[20, 20] == 1
    assert disc[0, 0] == 0


def field(limb: int, vector: tuple[float, float], rows: slice, columns: slice) -> np.ndarray:
    paf = np.zeros((2 * len(LSP.limbs), 6, 8), np.float32)
    paf[2 * limb : 2 * limb + 2, rows, columns] = np.array(vector)[:, None, None]
    return paf


def test_a_field_is_coloured_where_it_is_and_nowhere_else():
    shown = limb_overlay(DARK, field(3, (1, 0), slice(2, 4), slice(2, 6)), GRID, wheel=False)
    assert hue(shown[24, 32]) == 'r'
    assert shown[24, 32].max() > 150
    assert not shown[:8].any()
    assert not shown[:, :8].any()


def test_of_two_limbs_on_a_cell_the_longer_vector_is_seen():
    paf = field(3, (0.3, 0), slice(0, 6), slice(0, 8)) + field(7, (0, -1), slice(2, 4), slice(2, 6))
    shown = limb_overlay(DARK, paf, GRID, wheel=False)
    assert (
        np.abs(shown[24, 32].astype(float) / shown[24, 32].max() - direction_colors(np.array([0, -1.0])) / 255).max()
        < 0.1
    )


@pytest.mark.parametrize('shape', [(48, 64, 3), (7, 7, 3)])
def test_the_legend_stands_in_the_lower_left_corner_of_all_but_the_smallest_pictures(shape):
    shown = limb_overlay(np.zeros(shape, np.uint8), field(0, (0, 0), slice(0), slice(0)), GRID)
    assert shown[-9:, :9].any() == (min(shape[:2]) >= 9)
    assert not shown[:, shape[1] // 2 :].any()


def peaks(*cells: tuple[float, float]) -> Peaks:
    return Peaks(np.array(cells, np.float32), np.ones(len(cells), np.float32), np.arange(len(cells)))


def test_peaks_stand_where_their_cells_do_also_in_an_enlarged_picture():
    left = LSP.index('left_hip')
    one = Peaks(np.array([(3, 2)], np.float32), np.ones(1, np.float32), np.array([left]))
    assert tuple(draw_peaks(DARK, one, LSP, GRID)[20, 28]) == SIDES['left']
    large = np.zeros((96, 128, 3), np.uint8)
    matrix = np.linalg.inv(about(scaling(2.0), (-0.5, -0.5)))
    shown = draw_peaks(large, one, LSP, GRID, matrix)
    assert tuple(shown[40, 56]) == SIDES['left']
    assert not shown[:20].any()
    assert not draw_peaks(DARK, peaks(), LSP, GRID).any()


def test_better_candidates_are_redder_and_chosen_ones_thicker():
    places = peaks((0, 1), (7, 1), (0, 4), (7, 4))
    pairs = Pairs(np.array([0, 0]), np.array([0, 2]), np.array([1, 3]))
    shown = draw_candidates(DARK, pairs, np.array([0.95, 0.1]), places, GRID, chosen={(2, 3)})
    assert hue(shown[11, 12]) == 'r'
    assert hue(shown[35, 12]) == 'b'
    assert shown[33, 12].any()
    assert not shown[9, 12].any()


def test_a_sheet_shows_the_people_that_the_codec_puts_together():
    codec = PAF(LSP, (96, 64))
    joints = torch.rand(1, 2, 14, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([90.0, 60])
    fields = codec.encode(joints, torch.ones(1, 2, 14)).at(0)
    maps, limbs = (fields[n][0].numpy() for n in ('heatmap', 'paf'))
    grey = np.full((64, 96, 3), 90, np.uint8)
    beliefs = Beliefs(grey, grey, np.eye(3), (maps,), LSP.joints, codec.grid, (limbs,))
    sheet = parsing_sheet(beliefs, codec, side=128)
    assert sheet.shape[1] > 5 * 192
    nobody = Beliefs(grey, grey, np.eye(3), (0 * maps,), LSP.joints, codec.grid, (0 * limbs,))
    assert parsing_sheet(nobody, codec, side=128).shape == sheet.shape
