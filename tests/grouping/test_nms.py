"""Suppression of boxes, by hand and against the plain loop."""

import numpy as np
import pytest

from poseplug.grouping.nms import BLOCK, box_areas, box_iou, greedy, nms


def test_two_squares_that_share_half_of_each_have_an_iou_of_a_third():
    assert box_iou(np.array([[0, 0, 10, 10]]), np.array([[5, 0, 15, 10], [20, 20, 30, 30]])) == pytest.approx(
        np.array([[1 / 3, 0.0]])
    )


def test_boxes_without_an_extent_overlap_nothing():
    empty = np.array([[3, 3, 3, 3], [9, 9, 4, 4]])
    assert box_areas(empty).tolist() == [0, 0]
    assert box_iou(empty, empty).tolist() == [[0, 0], [0, 0]]


def test_the_best_of_a_cluster_stays_and_the_order_is_that_of_the_scores():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 1, 10, 11]], float)
    assert nms(boxes, np.array([0.5, 0.9, 0.7, 0.6]), 0.6).tolist() == [1, 2]


def test_what_was_suppressed_suppresses_nobody():
    """A chain: each overlaps its neighbour alone, so the first and the third stay."""
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)
    assert nms(boxes, np.array([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_stays_and_of_equals_the_first_leads():
    same = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], float)
    assert nms(same, np.array([0.5, 0.5]), float(box_iou(same[:1], same[1:])[0, 0])).tolist() == [0, 1]
    assert nms(same, np.array([0.5, 0.5]), 0.2).tolist() == [0]


def test_nobody_gives_nobody():
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []


def test_blocks_keep_what_a_plain_loop_keeps():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (5 * BLOCK, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, low.shape)], axis=1)
    scores = rng.random(len(boxes))
    for threshold in (0.1, 0.5, 0.9):
        kept: list[int] = []
        for n in np.argsort(-scores):
            if all(box_iou(boxes[[n]], boxes[[k]])[0, 0] <= threshold for k in kept):
                kept.append(int(n))
        assert nms(boxes, scores, threshold).tolist() == kept


def test_what_is_suppressed_early_is_never_compared_again():
    compared = []

    def all_alike(a, b):
        compared.append(len(b))
        return np.ones((len(a), len(b)))

    assert greedy(np.arange(10 * BLOCK), all_alike, 0.5).tolist() == [10 * BLOCK - 1]
    assert compared == [10 * BLOCK]
