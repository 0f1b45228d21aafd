"""Peaks of several instances: which cells count, and how they are refined between the cells."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.fields.gaussians import draw_gaussians, merge_heatmaps
from poseplug.fields.peak_arrays import drop_close_peaks
from poseplug.fields.peaks import (
    CENTROID,
    PEAK_REFINEMENTS,
    cubic_weights,
    find_local_maxima,
    find_peaks,
    refine_by_centroid,
)
from poseplug.fields.refine import refine_keypoints


def heatmap_of(*rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def cells_of(peaks):
    return peaks.cells.tolist()


def test_a_peak_is_above_the_threshold_and_above_its_eight_neighbors():
    heatmaps = heatmap_of([0.0, 0.5, 0.0, 0.0, 0.3], [0.0, 0.0, 0.6, 0.0, 0.0], [0.2, 0.0, 0.0, 0.0, 0.05])
    assert cells_of(find_peaks(heatmaps, 0.1)) == [[4, 0], [2, 1], [0, 2]]
    assert cells_of(find_peaks(heatmaps, 0.25)) == [[4, 0], [2, 1]]
    assert len(find_peaks(heatmaps, 0.6)) == 0


@pytest.mark.parametrize('rows', [[[0.4, 0.4], [0.4, 0.4]], [[0.0, 0.4], [0.4, 0.0]], [[0.1, 0.4], [0.1, 0.4]]])
def test_of_equal_neighbors_the_first_counts(rows):
    assert len(find_peaks(heatmap_of(*rows), 0.05)) == 1


def find_local_maxima_plainly(heatmaps: torch.Tensor, threshold: float) -> torch.Tensor:
    """The same by comparing every cell with its eight neighbors."""
    height, width = heatmaps.shape[-2:]
    padded = F.pad(heatmaps, (1, 1, 1, 1), value=-torch.inf)
    is_peak = heatmaps > threshold
    for row in range(3):
        for column in range(3):
            neighbors = padded[..., row : row + height, column : column + width]
            is_earlier = (row, column) < (1, 1)  # of equal neighbors only the first, row by row, is a peak
            is_peak &= heatmaps > neighbors if is_earlier else heatmaps >= neighbors
    return is_peak.flatten().nonzero()[:, 0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('size', [(17, 13), (1, 1), (1, 9), (9, 1), (2, 2), (46, 46)])
def test_local_maxima_are_bit_for_bit_those_of_all_cells_compared(size, dtype):
    noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    kinds = {
        'random': noise,
        'with ties': noise.mul(2).round(),
        'all equal': torch.full_like(noise, 0.3),
        'with infinity': torch.where(noise > 1, torch.inf, noise),
        'with NaN': torch.where(noise > 1, torch.nan, noise.round()),
        'all NaN': torch.full_like(noise, torch.nan),
        'not contiguous': noise.transpose(0, 1),
        'no images': noise[:0],
    }
    for kind, heatmaps in kinds.items():
        for threshold in (-torch.inf, -10.0, 0.1, 0.3, 1.0, 10.0):  # 0.3 is rounded in half precision
            heatmaps = heatmaps.to(dtype)
            indices, expected = find_local_maxima(heatmaps, threshold), find_local_maxima_plainly(heatmaps, threshold)
            assert torch.equal(indices, expected), (kind, threshold)


def test_peaks_are_sorted_by_image_keypoint_and_row():
    heatmaps = torch.zeros(2, 3, 5, 5)
    heatmaps[1, 2, 0, 4], heatmaps[1, 2, 4, 0], heatmaps[0, 1, 2, 2], heatmaps[1, 0, 3, 3] = 0.3, 0.5, 0.7, 0.9
    peaks = find_peaks(heatmaps, 0.1)
    assert peaks.channels.tolist() == [1, 3, 5, 5]
    assert cells_of(peaks) == [[2, 2], [3, 3], [4, 0], [0, 4]]
    second = peaks.for_image(1, 3)
    assert (second.channels.tolist(), cells_of(second)) == ([0, 2, 2], [[3, 3], [4, 0], [0, 4]])
    assert len(peaks.for_image(0, 3)) == 1


def test_with_four_neighbors_equal_ones_are_no_peak_and_diagonal_ones_do_not_count():
    heatmaps = heatmap_of([0.4, 0.4, 0.0, 0.0], [0.0, 0.0, 0.3, 0.0], [0.0, 0.0, 0.0, 0.2], [0.1, 0.0, 0.0, 0.2])
    assert find_local_maxima(heatmaps, 0.05, num_neighbors=4).tolist() == [6, 12]
    assert cells_of(find_peaks(heatmaps, 0.05, num_neighbors=4)) == [[2, 1], [0, 3]]
    assert cells_of(find_peaks(heatmaps, 0.05)) == [[0, 0], [0, 3]]


@pytest.mark.parametrize('kernel_size', [3, 7])
def test_a_single_peak_is_refined_with_the_kernel_that_is_asked_for(kernel_size):
    heatmaps = draw_gaussians(torch.tensor([[6.3, 7.6]]), torch.ones(1, dtype=torch.bool), (15, 15), 1.5)[None]
    peaks = find_peaks(heatmaps, 0.5, refine='udp', kernel_size=kernel_size)
    expected = refine_keypoints(heatmaps, torch.tensor([[[6, 8]]]), 'udp', kernel_size)[0]
    np.testing.assert_array_equal(peaks.cells, expected)
    assert peaks.scores.dtype == peaks.cells.dtype == np.float32


def test_the_highest_of_a_heatmap_count_and_keep_their_order():
    heatmaps = torch.zeros(1, 2, 1, 9)
    heatmaps[0, :, 0, ::2] = torch.tensor([0.3, 0.9, 0.5, 0.1, 0.7])
    heatmaps[0, 1, 0, 4:] = 0
    peaks = find_peaks(heatmaps, 0.05, max_peaks=3)
    assert cells_of(peaks) == [[2, 0], [4, 0], [8, 0], [0, 0], [2, 0]]
    assert peaks.scores.tolist() == pytest.approx([0.9, 0.5, 0.7, 0.3, 0.9])


def test_a_peak_too_near_an_earlier_one_is_dropped_unless_that_was_dropped():
    heatmaps = torch.zeros(1, 1, 1, 12)
    heatmaps[0, 0, 0, [0, 3, 6, 11]] = torch.tensor([0.2, 0.9, 0.5, 0.3])
    assert cells_of(find_peaks(heatmaps, 0.1, min_distance_cells=4.0)) == [[0, 0], [6, 0], [11, 0]]


def test_the_distance_of_two_peaks_is_that_of_their_rows_and_columns():
    indices = np.array([0, 3 * 12 + 2])  # 3 rows and 2 columns apart: 3.606 cells
    assert drop_close_peaks(indices, 12, 144, 3.61).tolist() == [True, False]
    assert drop_close_peaks(indices, 12, 144, 3.6).tolist() == [True, True]


def test_of_two_close_peaks_the_upper_one_stays_or_the_left_one():
    indices = np.array([5, 12 + 3])
    assert drop_close_peaks(indices, 12, 144, 3.0).tolist() == [True, False]
    assert drop_close_peaks(indices, 12, 144, 3.0, by_columns=True).tolist() == [False, True]


@pytest.mark.parametrize('refine', ['taylor', CENTROID, 'quarter', 'none'])
def test_several_peaks_of_a_heatmap_are_each_refined_as_if_alone(refine):
    expected = torch.tensor([[3.2, 4.4], [10.7, 3.1], [6.4, 11.6]])
    mask = torch.ones(3, dtype=torch.bool)
    alone = draw_gaussians(expected, mask, (15, 15), 0.9)
    together = find_peaks(merge_heatmaps(alone[None, :, None], 'max'), 0.1, refine=refine)
    separate = [find_peaks(heatmaps[None, None], 0.1, refine=refine).cells[0] for heatmaps in alone]
    assert {tuple(c) for c in together.cells.round(4)} == {tuple(c) for c in np.round(separate, 4)}
    error = abs(np.array(separate) - expected.numpy()).max()
    assert error < {'taylor': 1e-3, CENTROID: 0.13, 'quarter': 0.26, 'none': 0.5}[refine]


def test_the_centroid_is_that_of_the_enlarged_heatmap():
    noise = torch.rand(12, 14, generator=torch.Generator().manual_seed(0))
    heatmaps = 0.1 * noise + draw_gaussians(torch.tensor([6.3, 5.6]), torch.tensor(True), (14, 12), 0.87)
    enlarged = cv2.resize(heatmaps.numpy(), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    y, x = np.unravel_index(enlarged.argmax(), enlarged.shape)
    window = np.clip(enlarged[y - 3 : y + 4, x - 3 : x + 4], 0, None)
    columns, rows = np.meshgrid(np.arange(x - 3, x + 4), np.arange(y - 3, y + 4))
    expected = [(np.average(positions, weights=window) - 3.5) / 8 for positions in (columns, rows)]
    assert_close(
        refine_by_centroid(heatmaps[None, None], torch.tensor([[[6, 6]]]))[0, 0],
        torch.tensor(expected).float(),
        atol=1e-4,
        rtol=0,
    )


def test_the_cubic_keeps_a_constant():
    np.testing.assert_allclose(cubic_weights(8, 15).sum(axis=1), 1)


def test_scores_are_those_of_the_raw_heatmaps():
    heatmaps = heatmap_of([0.0, 0.5, 0.0])
    assert find_peaks(heatmaps, 0.1, raw_heatmaps=2 * heatmaps).scores.tolist() == [1.0]


@pytest.mark.parametrize('refine', PEAK_REFINEMENTS)
def test_empty_heatmaps_and_empty_batches_have_no_peaks(refine):
    assert len(find_peaks(torch.zeros(2, 3, 6, 6), 0.05, refine=refine)) == 0
    assert len(find_peaks(torch.zeros(0, 3, 6, 6), 0.05, refine=refine)) == 0
