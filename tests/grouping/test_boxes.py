"""Overlaps by hand, and suppression of batches against the plain loop."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.grouping.boxes import areas_of, iou, iou_table, staying, staying_by_loop, staying_by_table
from poseplug.grouping.nms import box_iou

WAYS = [staying_by_loop, staying_by_table]


def crowd(count: int, pictures: int = 3, seed: int = 0) -> torch.Tensor:
    """Boxes (B, M, 4) of which many overlap."""
    chance = torch.Generator().manual_seed(seed)
    low = torch.rand(pictures, count, 2, generator=chance) * 80
    return torch.cat([low, low + 5 + torch.rand(pictures, count, 2, generator=chance) * 40], dim=-1)


def one_by_one(boxes: np.ndarray, threshold: float) -> list[bool]:
    """The definition: down the ranks, against everybody kept before."""
    kept: list[int] = []
    for n in range(len(boxes)):
        if not kept or box_iou(boxes[n : n + 1], boxes[kept]).max() <= threshold:
            kept.append(n)
    return [n in kept for n in range(len(boxes))]


def test_two_squares_that_share_half_of_each_have_an_iou_of_a_third():
    assert_close(iou(torch.tensor([0.0, 0, 10, 10]), torch.tensor([5.0, 0, 15, 10])), torch.tensor(1 / 3))


def test_boxes_without_an_extent_overlap_nothing():
    empty = torch.tensor([[3.0, 3, 3, 3], [9, 9, 4, 4]])
    assert areas_of(empty).tolist() == [0, 0]
    assert iou_table(empty, empty).tolist() == [[0, 0], [0, 0]]


def test_the_table_is_that_of_the_numpy_side():
    one, other = crowd(7)[0], crowd(5, seed=1)[0]
    assert_close(iou_table(one, other), torch.from_numpy(box_iou(one.numpy(), other.numpy())))


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.65])
def test_those_stay_whom_the_plain_loop_keeps(way, threshold):
    boxes = crowd(90)
    found = way(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool), threshold)
    assert found.tolist() == [one_by_one(picture.numpy(), threshold) for picture in boxes]
    assert 0 < found.sum() < found.numel()


@pytest.mark.parametrize('way', WAYS)
def test_what_was_suppressed_suppresses_nobody(way):
    """A chain: each overlaps its neighbour alone, so the first, the third and the fifth stay."""
    boxes = torch.tensor([[[4.0 * n, 0, 4 * n + 10, 10] for n in range(5)]])
    assert way(boxes, torch.ones(1, 5, dtype=torch.bool), 0.3).tolist() == [[True, False, True, False, True]]


@pytest.mark.parametrize('way', WAYS)
def test_what_is_no_box_neither_stays_nor_suppresses(way):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]])
    assert way(boxes, torch.tensor([[False, True, True]]), 0.5).tolist() == [[False, True, False]]
    assert not way(boxes, torch.zeros(1, 3, dtype=torch.bool), 0.5).any()


@pytest.mark.parametrize('way', WAYS)
def test_an_overlap_of_just_the_threshold_stays(way):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 5, 10]]])
    assert way(boxes, torch.ones(1, 2, dtype=torch.bool), 0.5).all()
    assert not way(boxes, torch.ones(1, 2, dtype=torch.bool), 0.49).all()


@pytest.mark.parametrize('shape', [(0, 3), (2, 0)])
def test_nothing_stays_of_nothing(shape):
    assert staying(torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.bool), 0.5).shape == shape


@pytest.mark.parametrize('count', [20, 300])
def test_both_ways_agree_for_few_and_for_many(count):
    boxes, counts = crowd(count, pictures=2), torch.rand(2, count, generator=torch.Generator().manual_seed(1)) > 0.2
    assert torch.equal(staying(boxes, counts, 0.4), staying_by_table(boxes, counts, 0.4))
    assert torch.equal(staying(boxes, counts, 0.4), staying_by_loop(boxes, counts, 0.4))
