"""Suppression of boxes, by hand and against the plain loop."""

import numpy as np
import pytest
import torch

from poseplug.core.boxes import box_iou
from poseplug.grouping.nms import NMS_BLOCK_SIZE, greedy_nms, nms
from poseplug.grouping.nms_mask import nms_mask, nms_mask_by_loop, nms_mask_by_table

IMPLEMENTATIONS = [nms_mask_by_loop, nms_mask_by_table]


def random_boxes(count: int, images: int = 3, seed: int = 0) -> torch.Tensor:
    """Boxes (B, M, 4) of which many overlap."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(images, count, 2, generator=generator) * 80
    return torch.cat([low, low + 5 + torch.rand(images, count, 2, generator=generator) * 40], dim=-1)


def suppress_plainly(boxes: np.ndarray, threshold: float) -> list[bool]:
    """The definition: from the highest score down, against all selected before."""
    selected: list[int] = []
    for n in range(len(boxes)):
        if not selected or box_iou(boxes[n : n + 1], boxes[selected]).max() <= threshold:
            selected.append(n)
    return [n in selected for n in range(len(boxes))]


def test_the_highest_scoring_box_of_a_cluster_is_selected_and_the_order_is_that_of_the_scores():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 1, 10, 11]], float)
    assert nms(boxes, np.array([0.5, 0.9, 0.7, 0.6]), 0.6).tolist() == [1, 2]


def test_a_suppressed_box_suppresses_none():
    """A chain: each overlaps its neighbor alone, so the first and the third are selected."""
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], float)
    assert nms(boxes, np.array([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_does_not_suppress_and_of_equal_scores_the_first_counts():
    same = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], float)
    assert nms(same, np.array([0.5, 0.5]), float(box_iou(same[:1], same[1:])[0, 0])).tolist() == [0, 1]
    assert nms(same, np.array([0.5, 0.5]), 0.2).tolist() == [0]


def test_no_box_is_selected_of_none():
    assert nms(np.zeros((0, 4)), np.zeros(0)).tolist() == []


def test_blocks_select_what_a_plain_loop_selects():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (5 * NMS_BLOCK_SIZE, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, low.shape)], axis=1)
    scores = rng.random(len(boxes))
    for threshold in (0.1, 0.5, 0.9):
        selected: list[int] = []
        for n in np.argsort(-scores):
            if all(box_iou(boxes[[n]], boxes[[k]])[0, 0] <= threshold for k in selected):
                selected.append(int(n))
        assert nms(boxes, scores, threshold).tolist() == selected


def test_what_is_suppressed_early_is_never_compared_again():
    compared = []

    def full_overlap(a, b):
        compared.append(len(b))
        return np.ones((len(a), len(b)))

    assert greedy_nms(np.arange(10 * NMS_BLOCK_SIZE), full_overlap, 0.5).tolist() == [10 * NMS_BLOCK_SIZE - 1]
    assert compared == [10 * NMS_BLOCK_SIZE]


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.65])
def test_the_mask_of_a_batch_is_that_of_a_plain_loop(implementation, threshold):
    boxes = random_boxes(90)
    mask = implementation(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool), threshold)
    assert mask.tolist() == [suppress_plainly(image.numpy(), threshold) for image in boxes]
    assert 0 < mask.sum() < mask.numel()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_a_suppressed_box_of_a_batch_suppresses_none(implementation):
    """A chain: each overlaps its neighbor alone, so the first, the third and the fifth are selected."""
    boxes = torch.tensor([[[4.0 * n, 0, 4 * n + 10, 10] for n in range(5)]])
    assert implementation(boxes, torch.ones(1, 5, dtype=torch.bool), 0.3).tolist() == [[True, False, True, False, True]]


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_boxes_without_an_area_overlap_none(implementation):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 5, 5], [20, 20, 20, 20], [20, 20, 20, 30], [0, 0, 10, 9]]])
    assert implementation(boxes, torch.ones(1, 5, dtype=torch.bool), 0.5).tolist() == [[True, True, True, True, False]]


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_padding_is_neither_selected_nor_suppresses(implementation):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]])
    assert implementation(boxes, torch.tensor([[False, True, True]]), 0.5).tolist() == [[False, True, False]]
    assert not implementation(boxes, torch.zeros(1, 3, dtype=torch.bool), 0.5).any()


@pytest.mark.parametrize('implementation', IMPLEMENTATIONS)
def test_an_overlap_of_just_the_threshold_is_allowed_in_a_batch(implementation):
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 5, 10]]])
    assert implementation(boxes, torch.ones(1, 2, dtype=torch.bool), 0.5).all()
    assert not implementation(boxes, torch.ones(1, 2, dtype=torch.bool), 0.49).all()


@pytest.mark.parametrize('shape', [(0, 3), (2, 0)])
def test_empty_batches_have_empty_masks(shape):
    assert nms_mask(torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.bool), 0.5).shape == shape


@pytest.mark.parametrize('count', [20, 300])
def test_both_implementations_agree_for_few_and_for_many(count):
    boxes, valid = random_boxes(count, images=2), torch.rand(2, count, generator=torch.Generator().manual_seed(1)) > 0.2
    assert torch.equal(nms_mask(boxes, valid, 0.4), nms_mask_by_table(boxes, valid, 0.4))
    assert torch.equal(nms_mask(boxes, valid, 0.4), nms_mask_by_loop(boxes, valid, 0.4))


@pytest.mark.parametrize('implementation', [*IMPLEMENTATIONS, nms_mask])
def test_a_mask_of_boxes_is_boolean(implementation):
    boxes = random_boxes(5)
    assert implementation(boxes, torch.ones(3, 5, dtype=torch.bool), 0.5).dtype == torch.bool
