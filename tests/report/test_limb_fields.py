"""Limb fields in colors, and the steps of grouping."""

import numpy as np
import pytest
import torch

from poseplug.codecs.paf import PAF
from poseplug.core.geometry import conjugate_about, scaling_matrix
from poseplug.fields.grid import Grid
from poseplug.fields.heatmap_stages import HeatmapStages
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_scores import PeakPairs
from poseplug.report.drawing_style import SIDE_COLORS
from poseplug.report.limb_fields import (
    colorize_directions,
    draw_candidate_limbs,
    draw_direction_wheel,
    draw_grouping_sheet,
    draw_limb_fields,
    draw_peaks,
)
from poseplug.skeletons.lsp import LSP

GRID = Grid.from_stride((64, 48), 8, 3.5)
DARK = np.zeros((48, 64, 3), np.uint8)


def strongest_channel(color: np.ndarray) -> str:
    """The strongest of blue, green and red."""
    return 'bgr'[int(np.argmax(color))]


def test_directions_have_the_colors_of_the_wheel_and_opposite_ones_differ_most():
    right, down, left, up = colorize_directions(np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], float))
    assert strongest_channel(right) == 'r'
    assert right[0] == right[1] < 40
    assert down[1] == 255  # between red and green
    assert left[2] < 40
    for one, other in ((right, left), (down, up)):
        assert np.abs(one + other - 255 - 25).max() <= 3, 'their sum is gray'


def test_the_wheel_is_a_disc_whose_right_is_red_and_whose_colors_do_not_depend_on_length():
    colors, disc = draw_direction_wheel(41)
    assert strongest_channel(colors[20, 40]) == strongest_channel(colors[20, 25]) == 'r'
    assert disc[20, 20] == 1
    assert disc[0, 0] == 0


def build_paf(limb: int, vector: tuple[float, float], rows: slice, columns: slice) -> np.ndarray:
    paf = np.zeros((2 * len(LSP.limbs), 6, 8), np.float32)
    paf[2 * limb : 2 * limb + 2, rows, columns] = np.array(vector)[:, None, None]
    return paf


def test_a_field_is_colored_where_it_is_and_nowhere_else():
    drawn = draw_limb_fields(DARK, build_paf(3, (1, 0), slice(2, 4), slice(2, 6)), GRID, show_wheel=False)
    assert strongest_channel(drawn[24, 32]) == 'r'
    assert drawn[24, 32].max() > 150
    assert not drawn[:8].any()
    assert not drawn[:, :8].any()


def test_of_two_limbs_on_a_cell_the_longer_vector_is_drawn():
    paf = build_paf(3, (0.3, 0), slice(0, 6), slice(0, 8)) + build_paf(7, (0, -1), slice(2, 4), slice(2, 6))
    drawn = draw_limb_fields(DARK, paf, GRID, show_wheel=False)
    expected = colorize_directions(np.array([0, -1.0])) / 255
    assert np.abs(drawn[24, 32].astype(float) / drawn[24, 32].max() - expected).max() < 0.1


@pytest.mark.parametrize('shape', [(48, 64, 3), (7, 7, 3)])
def test_the_legend_is_in_the_lower_left_corner_of_all_but_the_smallest_images(shape):
    drawn = draw_limb_fields(np.zeros(shape, np.uint8), build_paf(0, (0, 0), slice(0), slice(0)), GRID)
    assert drawn[-9:, :9].any() == (min(shape[:2]) >= 9)
    assert not drawn[:, shape[1] // 2 :].any()


def build_peaks(*cells: tuple[float, float]) -> Peaks:
    return Peaks(np.array(cells, np.float32), np.ones(len(cells), np.float32), np.arange(len(cells)))


def test_peaks_are_drawn_at_their_cells_also_in_an_enlarged_image():
    left_hip = LSP.index('left_hip')
    peak = Peaks(np.array([(3, 2)], np.float32), np.ones(1, np.float32), np.array([left_hip]))
    assert tuple(draw_peaks(DARK, peak, LSP, GRID)[20, 28]) == SIDE_COLORS['left']
    large = np.zeros((96, 128, 3), np.uint8)
    image_to_input = np.linalg.inv(conjugate_about(scaling_matrix(2.0), (-0.5, -0.5)))
    drawn = draw_peaks(large, peak, LSP, GRID, image_to_input)
    assert tuple(drawn[40, 56]) == SIDE_COLORS['left']
    assert not drawn[:20].any()
    assert not draw_peaks(DARK, build_peaks(), LSP, GRID).any()


def test_candidates_with_higher_scores_are_redder_and_matched_ones_thicker():
    peaks = build_peaks((0, 1), (7, 1), (0, 4), (7, 4))
    pairs = PeakPairs(np.array([0, 0]), np.array([0, 2]), np.array([1, 3]))
    drawn = draw_candidate_limbs(DARK, pairs, np.array([0.95, 0.1]), peaks, GRID, matched_pairs={(2, 3)})
    assert strongest_channel(drawn[11, 12]) == 'r'
    assert strongest_channel(drawn[35, 12]) == 'b'
    assert drawn[33, 12].any()
    assert not drawn[9, 12].any()


def test_a_sheet_shows_the_instances_that_the_codec_groups():
    codec = PAF(LSP, (96, 64))
    keypoints = torch.rand(1, 2, 14, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([90.0, 60])
    fields = codec.encode(keypoints, torch.ones(1, 2, 14)).stage_fields(0)
    heatmaps, paf = (fields[n][0].numpy() for n in ('heatmap', 'paf'))
    gray = np.full((64, 96, 3), 90, np.uint8)
    stages = HeatmapStages(gray, gray, np.eye(3), (heatmaps,), LSP.keypoints, codec.grid, (paf,))
    sheet = draw_grouping_sheet(stages, codec, height_px=128)
    assert sheet.shape[1] > 5 * 192
    empty = HeatmapStages(gray, gray, np.eye(3), (0 * heatmaps,), LSP.keypoints, codec.grid, (0 * paf,))
    assert draw_grouping_sheet(empty, codec, height_px=128).shape == sheet.shape
