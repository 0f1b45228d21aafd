import math

import pytest
import torch
from torch.nn import functional as F

from poseplug.errors import ConfigError
from poseplug.models.losses.kl import JensenShannon, KLDivergence


def test_the_right_distribution_costs_nothing_and_an_equal_one_of_n_bins_against_one_bin_ln_n_over_n():
    chances = torch.tensor([[[0.5, 0.25, 0.125, 0.125]]])
    assert KLDivergence()(chances.log(), chances).item() == pytest.approx(0, abs=1e-7)
    one = torch.tensor([[[0.0, 1, 0, 0]]])
    assert KLDivergence()(torch.zeros(1, 1, 4), one).item() == pytest.approx(math.log(4) / 4)


def test_it_is_torchs_divergence_as_a_mean_over_bins():
    predicted = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    wanted = predicted.flip(0).softmax(-1)
    there = F.kl_div(predicted.log_softmax(-1), wanted, reduction='none').mean().item()
    assert KLDivergence()(predicted, wanted).item() == pytest.approx(there, rel=1e-5)
    assert KLDivergence(factor=3.0)(predicted, wanted).item() == pytest.approx(3 * there, rel=1e-5)


def test_labels_through_the_same_softmax_are_met_by_the_labels_themselves():
    wanted = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert KLDivergence(beta=10.0, softmax_labels=True)(wanted, wanted).item() == pytest.approx(0, abs=1e-7)
    assert KLDivergence(beta=10.0, softmax_labels=True)(2 * wanted, wanted).item() > 0.001


def test_a_joint_without_weight_stays_in_the_denominator_and_gets_no_gradient():
    predicted = torch.zeros(1, 2, 4, requires_grad=True)
    one = F.one_hot(torch.tensor([[1, 2]]), 4).float()
    loss = KLDivergence()(predicted, one, torch.tensor([[1.0, 0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4) / 8)
    assert predicted.grad[0, 0].any()
    assert not predicted.grad[0, 1].any()


def test_the_gradient_pulls_up_the_wanted_bin():
    predicted = torch.zeros(1, 1, 4, requires_grad=True)
    KLDivergence()(predicted, torch.tensor([[[0.0, 1, 0, 0]]])).backward()
    assert predicted.grad.flatten().tolist() == pytest.approx([0.0625, -0.1875, 0.0625, 0.0625])


def test_two_distributions_without_a_common_cell_differ_by_ln_2():
    one, other = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    one[..., 0, 0] = other[..., 1, 1] = 1
    assert JensenShannon()(one, other).item() == pytest.approx(math.log(2))
    assert JensenShannon()(one, one).item() == 0


def test_the_divergence_from_the_middle_is_symmetric_and_blind_to_scale():
    one, other = torch.rand(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    there = JensenShannon()(one, other).item()
    assert JensenShannon()(other, one).item() == pytest.approx(there)
    assert JensenShannon()(3 * one, other).item() == pytest.approx(there, rel=1e-5)


def test_it_is_the_mean_of_both_divergences_from_the_middle():
    """Of (1, 0) and (1/2, 1/2) the middle is (3/4, 1/4): half of ln 4/3, and half of ln 2/3 and ln 2, halved."""
    one, other = torch.tensor([[[[1.0, 0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    wanted = 0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert JensenShannon()(one, other).item() == pytest.approx(wanted)


@pytest.mark.parametrize('diagonal', [0, 0.5])
def test_empty_cells_and_empty_maps_give_finite_gradients(diagonal):
    predicted = (diagonal * torch.eye(2)[None, None]).requires_grad_()
    JensenShannon()(predicted, torch.eye(2).flip(0)[None, None] / 2).backward()
    assert torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize('beta', [0, -1, math.inf])
def test_a_softmax_that_is_not_one_is_an_error(beta):
    with pytest.raises(ConfigError, match='KLDivergence: beta is a positive number'):
        KLDivergence(beta=beta)
