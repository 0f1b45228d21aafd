import math

import pytest
import torch

from poseplug.models.losses.varifocal import BinaryCrossEntropy, Varifocal


def test_an_undecided_cell_costs_ln_2_times_its_quality_or_three_sixteenths_where_nothing_is():
    undecided = torch.zeros(1, 1)
    assert Varifocal()(undecided, torch.tensor([[0.8]])).item() == pytest.approx(0.8 * math.log(2))
    assert Varifocal()(undecided, torch.tensor([[0.0]])).item() == pytest.approx(0.75 * 0.25 * math.log(2))


def test_a_cell_that_knows_that_nothing_is_there_costs_next_to_nothing():
    """p = 0.01: 0.75 x 0.01² x ln(1 / 0.99)."""
    knowing = torch.tensor([[-math.log(99)]])
    assert Varifocal()(knowing, torch.zeros(1, 1)).item() == pytest.approx(0.75e-4 * -math.log(0.99), rel=1e-4)


def test_alpha_and_gamma_are_those_of_empty_cells_alone():
    found, empty = torch.tensor([[0.7]]), torch.tensor([[0.0]])
    assert Varifocal(alpha=1, gamma=0)(found * 0, empty).item() == pytest.approx(math.log(2))
    assert Varifocal(alpha=1, gamma=0)(found, found).item() == Varifocal()(found, found).item()


def test_the_best_score_is_the_quality_itself():
    scores = torch.linspace(-4, 4, 801)
    costs = torch.stack([Varifocal()(s.view(1, 1), torch.tensor([[0.7]])) for s in scores])
    assert scores[costs.argmin()].sigmoid().item() == pytest.approx(0.7, abs=0.003)


def test_cells_are_summed():
    predicted, wanted = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 5)
    wanted[0, 1] = 0.6
    each = [Varifocal()(predicted[:, i : i + 1], wanted[:, i : i + 1]).item() for i in range(5)]
    assert Varifocal()(predicted, wanted).item() == pytest.approx(sum(each))
    assert Varifocal(factor=2.0)(predicted, wanted).item() == pytest.approx(2 * sum(each))


def test_a_yes_or_no_question_costs_what_the_answer_surprised_and_rows_add_up():
    """Chances of 1/2 and of 3/4 for what is so, in each of two rows."""
    logits = torch.tensor([[0.0, math.log(3)]] * 2)
    cost = BinaryCrossEntropy()(logits, torch.ones(2, 2)).item()
    assert cost == pytest.approx(2 * (math.log(2) + math.log(4 / 3)) / 2)
