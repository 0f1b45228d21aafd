import pytest
import torch

from poseplug.models.losses.iou import SquaredIoULoss

SQUARE = torch.tensor([[[0.0, 0, 10, 10]]])


def test_squares_that_overlap_by_half_cost_eight_ninths():
    half = torch.tensor([[[5.0, 0, 15, 10]]])
    assert SquaredIoULoss()(half, SQUARE).item() == pytest.approx(8 / 9)
    assert SquaredIoULoss(loss_weight=5.0)(half, SQUARE).item() == pytest.approx(40 / 9)


def test_disjoint_boxes_cost_1_each():
    apart = torch.tensor([[[20.0, 0, 30, 10], [0, 20, 10, 30]]])
    assert SquaredIoULoss()(apart, SQUARE.expand(1, 2, 4)).item() == 2


def test_the_gradient_pulls_each_side_toward_the_target():
    box = torch.tensor([[[1.0, 2, 11, 8]]], requires_grad=True)
    SquaredIoULoss()(box, SQUARE).backward()
    left, top, right, bottom = box.grad.flatten()
    assert left > 0
    assert top > 0
    assert right > 0
    assert bottom < 0


def test_the_gradient_equals_finite_differences():
    box = torch.tensor([[[1.0, 2, 11, 8]]], dtype=torch.float32, requires_grad=True)
    loss = SquaredIoULoss()
    loss(box, SQUARE).backward()
    for i in range(4):
        step = torch.zeros(1, 1, 4)
        step[..., i] = 0.01
        slope = (loss(box + step, SQUARE) - loss(box - step, SQUARE)).item() / 0.02
        assert box.grad[0, 0, i].item() == pytest.approx(slope, abs=1e-4)
