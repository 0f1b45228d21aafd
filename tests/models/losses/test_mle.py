"""Losses of distributions over bins, with labels of which the numbers can be worked by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.models.dcc import Distributions
from poseplug.models.losses.mle import MLE, SMALLEST, BinDivergence

SIZES = torch.tensor([40.0])
LOSSES = [MLE(), BinDivergence()]


def sure_of(x: int, y: int, spread: float = 0.05, bins: int = 21) -> Distributions:
    """One person with one joint, surely in the bins at x and y of those at 0, 5, ... px."""
    chances = torch.zeros(2, 1, 1, bins)
    chances[0, ..., x] = chances[1, ..., y] = 1
    places = 5.0 * torch.arange(bins)[None]
    return Distributions(chances[0], chances[1], places, places, torch.full((1, 1), spread))


def unsure(seed: int = 0, people: int = 3, joints: int = 2, bins: int = 9) -> tuple[torch.Tensor, ...]:
    """Logits in x and y, and spreads before their logarithm, of which everything else follows."""
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, people, joints, bins, generator=chance, dtype=torch.float64)
    return logits[0].requires_grad_(), logits[1].requires_grad_(), torch.full((people, joints), -3.0).requires_grad_()


def given(x: torch.Tensor, y: torch.Tensor, spread: torch.Tensor) -> Distributions:
    places = torch.arange(x.shape[-1], dtype=x.dtype).expand(len(x), -1) * 4
    return Distributions(x.softmax(-1), y.softmax(-1), places, places, spread.exp())


def test_a_sure_bin_at_the_label_is_one_over_the_spread_likely_on_both_axes():
    cost = MLE()(sure_of(4, 6), torch.tensor([[[20.0, 30.0]]]), SIZES).item()
    assert cost == pytest.approx(-math.log(1 / 0.05**2 + SMALLEST), rel=1e-5)


def test_a_label_off_by_twice_size_times_spread_is_e_times_less_likely():
    """Spread 0.05 of 40 px is 2 px: 4 px away e times, on one axis."""
    near = MLE()(sure_of(4, 6), torch.tensor([[[20.0, 30.0]]]), SIZES).item()
    off = MLE()(sure_of(4, 6), torch.tensor([[[24.0, 30.0]]]), SIZES).item()
    assert off - near == pytest.approx(1, abs=1e-4)


def test_a_label_far_from_every_chance_costs_no_more_than_the_smallest_likelihood():
    assert MLE()(sure_of(0, 0), torch.tensor([[[1e5, 1e5]]]), SIZES).item() == pytest.approx(-math.log(SMALLEST))


def test_the_loss_has_its_minimum_at_the_true_joint():
    """Among bins that are sure, those at the label cost least, whichever the label is."""
    for truth in (3, 10, 17):
        label = torch.tensor([[[5.0 * truth, 5.0 * (20 - truth)]]])
        costs = torch.tensor([[MLE()(sure_of(x, y), label, SIZES) for x in range(21)] for y in range(21)])
        assert divmod(int(costs.argmin()), 21) == (20 - truth, truth)


def test_descending_the_loss_brings_the_expectation_to_the_label():
    x, y, spread = unsure(people=1, joints=1)
    label = torch.tensor([[[12.0, 20.0]]])
    descent = torch.optim.Adam([x, y, spread], lr=0.1)
    for _ in range(200):
        descent.zero_grad()
        MLE()(given(x, y, spread), label, SIZES).backward()
        descent.step()
    assert_close(given(x, y, spread).expectation().float(), label, atol=0.2, rtol=0)


def test_the_best_spread_is_that_of_the_labels():
    """Of bins sure at 20 px with labels 3 px off on both axes, sum -ln p = 2 (3 / (2 s 40) + ln s): s = 3 / 80."""
    spreads = torch.linspace(0.01, 0.1, 181)
    costs = torch.stack([MLE()(sure_of(4, 4, s), torch.tensor([[[23.0, 17.0]]]), SIZES) for s in spreads.tolist()])
    assert spreads[costs.argmin()].item() == pytest.approx(3 / 80, abs=0.001)


@pytest.mark.parametrize('loss', LOSSES)
def test_the_gradient_is_that_of_differences(loss):
    parts = unsure()
    labels, sizes = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(5)) * 30, torch.tensor([20.0, 30, 40])
    loss(given(*parts), labels, sizes).backward()
    for part in parts[:2]:
        for place in [(0, 0, 0), (1, 1, 4), (2, 0, 8)]:
            ends = []
            for step in (0.01, -0.01):
                moved = part.detach().clone()
                moved[place] += step
                ends.append(loss(given(*(moved if p is part else p for p in parts)), labels, sizes).item())
            assert part.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 0.02, abs=2e-4)


def test_the_wanted_distribution_itself_diverges_nowhere():
    places = torch.arange(9.0)[None] * 4
    wanted = (-(places - 12).abs() / (2 * 0.05 * 40)).exp()
    chances = (wanted / wanted.sum())[:, None]
    found = Distributions(chances, chances, places, places, torch.ones(1, 1))
    assert BinDivergence()(found, torch.tensor([[[12.0, 12.0]]]), SIZES).item() == pytest.approx(0, abs=1e-6)


def test_equal_chances_diverge_by_the_logarithm_of_their_number_from_one_narrow_bin():
    places, chances = torch.arange(8.0)[None] * 40, torch.full((1, 1, 8), 1 / 8)
    found = Distributions(chances, chances, places, places, torch.ones(1, 1))
    cost = BinDivergence(width=1e-3)(found, torch.tensor([[[80.0, 40.0]]]), SIZES).item()
    assert cost == pytest.approx(math.log(8), rel=1e-4)


@pytest.mark.parametrize('loss', LOSSES)
def test_joints_without_weight_neither_cost_nor_learn(loss):
    parts = unsure()
    labels, weight = torch.zeros(3, 2, 2), torch.ones(3, 2)
    weight[:, 1] = 0
    loss(given(*parts), labels, torch.full((3,), 30.0), weight).backward()
    for part in parts[:2]:
        assert part.grad[:, 0].any()
        assert not part.grad[:, 1].any()


@pytest.mark.parametrize('loss', LOSSES)
def test_people_add_up_and_nobody_costs_nothing(loss):
    parts = unsure()
    labels, sizes = torch.rand(3, 2, 2) * 30, torch.tensor([20.0, 30, 40])
    each = [loss(given(*(p[n : n + 1] for p in parts)), labels[n : n + 1], sizes[n : n + 1]).item() for n in range(3)]
    assert loss(given(*parts), labels, sizes).item() == pytest.approx(sum(each), rel=1e-5)
    nobody = loss(given(*(p[:0] for p in parts)), labels[:0], sizes[:0])
    nobody.backward()
    assert nobody.item() == 0


@pytest.mark.parametrize('loss', LOSSES)
def test_people_of_no_size_and_spreads_of_zero_cost_a_finite_number(loss):
    found = sure_of(4, 4, spread=0.0)
    for label in ([[[20.0, 20]]], [[[21.0, 300]]]):
        assert math.isfinite(loss(found, torch.tensor(label), torch.zeros(1)).item())


def test_with_a_narrowest_spread_what_is_far_off_still_gains_by_coming_nearer():
    """A label at 20 px of a network that is sure, to a spread of 0.001, of 10 px or of 15 px."""
    label = torch.tensor([[[20.0, 20.0]]])

    def gain(**settings):
        loss = MLE(**settings)
        return (loss(sure_of(2, 4, 1e-3), label, SIZES) - loss(sure_of(3, 4, 1e-3), label, SIZES)).item()

    assert gain() == pytest.approx(0, abs=1e-6)
    assert gain(narrowest=0.03) == pytest.approx(5 / (2 * 0.03 * 40), rel=1e-3)
