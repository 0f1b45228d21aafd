import math

import pytest
import torch

from poseplug.models.losses.varifocal import BinaryCrossEntropy, VarifocalLoss


def test_an_undecided_cell_costs_ln_2_times_its_quality_or_three_sixteenths_in_the_background():
    undecided = torch.zeros(1, 1)
    assert VarifocalLoss()(undecided, torch.tensor([[0.8]])).item() == pytest.approx(0.8 * math.log(2))
    assert VarifocalLoss()(undecided, torch.tensor([[0.0]])).item() == pytest.approx(0.75 * 0.25 * math.log(2))


def test_a_confident_background_cell_costs_next_to_nothing():
    """p = 0.01: 0.75 x 0.01² x ln(1 / 0.99)."""
    logits = torch.tensor([[-math.log(99)]])
    assert VarifocalLoss()(logits, torch.zeros(1, 1)).item() == pytest.approx(0.75e-4 * -math.log(0.99), rel=1e-4)


def test_alpha_and_gamma_apply_to_the_background_alone():
    quality, empty = torch.tensor([[0.7]]), torch.tensor([[0.0]])
    assert VarifocalLoss(alpha=1, gamma=0)(quality * 0, empty).item() == pytest.approx(math.log(2))
    assert VarifocalLoss(alpha=1, gamma=0)(quality, quality).item() == VarifocalLoss()(quality, quality).item()


def test_the_best_score_is_the_quality_itself():
    scores = torch.linspace(-4, 4, 801)
    costs = torch.stack([VarifocalLoss()(s.view(1, 1), torch.tensor([[0.7]])) for s in scores])
    assert scores[costs.argmin()].sigmoid().item() == pytest.approx(0.7, abs=0.003)


def test_cells_are_summed():
    predicted, target = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 5)
    target[0, 1] = 0.6
    each = [VarifocalLoss()(predicted[:, i : i + 1], target[:, i : i + 1]).item() for i in range(5)]
    assert VarifocalLoss()(predicted, target).item() == pytest.approx(sum(each))
    assert VarifocalLoss(loss_weight=2.0)(predicted, target).item() == pytest.approx(2 * sum(each))


def test_a_probability_costs_its_negative_logarithm_and_rows_are_summed():
    """Probabilities of 1/2 and of 3/4 for targets of 1, in each of two rows."""
    logits = torch.tensor([[0.0, math.log(3)]] * 2)
    cost = BinaryCrossEntropy()(logits, torch.ones(2, 2)).item()
    assert cost == pytest.approx(2 * (math.log(2) + math.log(4 / 3)) / 2)
