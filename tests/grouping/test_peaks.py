"""Peaks of many people: which cells count, and where they are placed."""

import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.drawing import gaussians, merge
from poseplug.grouping.peaks import CENTROID, PLACES, centroid, cubic, find_peaks


def maps_of(*rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def cells_of(peaks):
    return peaks.cells.tolist()


def test_a_peak_is_above_the_threshold_and_above_its_eight_neighbours():
    maps = maps_of([0.0, 0.5, 0.0, 0.0, 0.3], [0.0, 0.0, 0.6, 0.0, 0.0], [0.2, 0.0, 0.0, 0.0, 0.05])
    assert cells_of(find_peaks(maps, 0.1)) == [[4, 0], [2, 1], [0, 2]]
    assert cells_of(find_peaks(maps, 0.25)) == [[4, 0], [2, 1]]
    assert len(find_peaks(maps, 0.6)) == 0


@pytest.mark.parametrize('rows', [[[0.4, 0.4], [0.4, 0.4]], [[0.0, 0.4], [0.4, 0.0]], [[0.1, 0.4], [0.1, 0.4]]])
def test_of_equal_neighbours_the_first_counts(rows):
    assert len(find_peaks(maps_of(*rows), 0.05)) == 1


def test_peaks_come_by_picture_and_joint_and_a_row_at_a_time():
    maps = torch.zeros(2, 3, 5, 5)
    maps[1, 2, 0, 4], maps[1, 2, 4, 0], maps[0, 1, 2, 2], maps[1, 0, 3, 3] = 0.3, 0.5, 0.7, 0.9
    peaks = find_peaks(maps, 0.1)
    assert peaks.channels.tolist() == [1, 3, 5, 5]
    assert cells_of(peaks) == [[2, 2], [3, 3], [4, 0], [0, 4]]
    second = peaks.of_picture(1, 3)
    assert (second.channels.tolist(), cells_of(second)) == ([0, 2, 2], [[3, 3], [4, 0], [0, 4]])
    assert len(peaks.of_picture(0, 3)) == 1


def test_the_best_of_a_map_count_and_keep_their_order():
    maps = torch.zeros(1, 2, 1, 9)
    maps[0, :, 0, ::2] = torch.tensor([0.3, 0.9, 0.5, 0.1, 0.7])
    maps[0, 1, 0, 4:] = 0
    peaks = find_peaks(maps, 0.05, most=3)
    assert cells_of(peaks) == [[2, 0], [4, 0], [8, 0], [0, 0], [2, 0]]
    assert peaks.scores.tolist() == pytest.approx([0.9, 0.5, 0.7, 0.3, 0.9])


def test_a_peak_too_near_an_earlier_one_that_stays_is_dropped():
    maps = torch.zeros(1, 1, 1, 12)
    maps[0, 0, 0, [0, 3, 6, 11]] = torch.tensor([0.2, 0.9, 0.5, 0.3])
    assert cells_of(find_peaks(maps, 0.1, apart=4.0)) == [[0, 0], [6, 0], [11, 0]]


@pytest.mark.parametrize('how', ['taylor', CENTROID, 'quarter', 'none'])
def test_several_peaks_of_a_map_are_each_placed_as_if_alone(how):
    wanted = torch.tensor([[3.2, 4.4], [10.7, 3.1], [6.4, 11.6]])
    drawn = torch.ones(3, dtype=torch.bool)
    alone = gaussians(wanted, drawn, (15, 15), 0.9)
    together = find_peaks(merge(alone[None, :, None], 'max'), 0.1, how=how)
    apart = [find_peaks(maps[None, None], 0.1, how=how).cells[0] for maps in alone]
    assert {tuple(c) for c in together.cells.round(4)} == {tuple(c) for c in np.round(apart, 4)}
    error = abs(np.array(apart) - wanted.numpy()).max()
    assert error < {'taylor': 1e-3, CENTROID: 0.13, 'quarter': 0.26, 'none': 0.5}[how]


def test_the_centroid_is_that_of_the_enlarged_map():
    noise = torch.rand(12, 14, generator=torch.Generator().manual_seed(0))
    maps = 0.1 * noise + gaussians(torch.tensor([6.3, 5.6]), torch.tensor(True), (14, 12), 0.87)
    enlarged = cv2.resize(maps.numpy(), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    y, x = np.unravel_index(enlarged.argmax(), enlarged.shape)
    window = np.clip(enlarged[y - 3 : y + 4, x - 3 : x + 4], 0, None)
    columns, rows = np.meshgrid(np.arange(x - 3, x + 4), np.arange(y - 3, y + 4))
    wanted = [(np.average(places, weights=window) - 3.5) / 8 for places in (columns, rows)]
    assert_close(
        centroid(maps[None, None], torch.tensor([[[6, 6]]]))[0, 0], torch.tensor(wanted).float(), atol=1e-4, rtol=0
    )


def test_the_cubic_keeps_what_is_constant():
    np.testing.assert_allclose(cubic(8, 15).sum(axis=1), 1)


def test_scores_are_those_of_the_raw_maps():
    maps = maps_of([0.0, 0.5, 0.0])
    assert find_peaks(maps, 0.1, raw=2 * maps).scores.tolist() == [1.0]


@pytest.mark.parametrize('how', PLACES)
def test_empty_maps_and_empty_batches_have_no_peaks(how):
    assert len(find_peaks(torch.zeros(2, 3, 6, 6), 0.05, how=how)) == 0
    assert len(find_peaks(torch.zeros(0, 3, 6, 6), 0.05, how=how)) == 0
