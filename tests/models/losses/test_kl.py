import math

import pytest
import torch
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.losses.kl import JensenShannon, KLDivergence


def test_the_target_itself_has_zero_loss_and_a_uniform_one_of_n_bins_against_one_bin_ln_n_over_n():
    probs = torch.tensor([[[0.5, 0.25, 0.125, 0.125]]])
    assert KLDivergence()(probs.log(), probs).item() == pytest.approx(0, abs=1e-7)
    one = torch.tensor([[[0.0, 1, 0, 0]]])
    assert KLDivergence()(torch.zeros(1, 1, 4), one).item() == pytest.approx(math.log(4) / 4)


def test_it_is_torchs_divergence_as_a_mean_over_bins():
    predicted = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    target = predicted.flip(0).softmax(-1)
    reference = F.kl_div(predicted.log_softmax(-1), target, reduction='none').mean().item()
    assert KLDivergence()(predicted, target).item() == pytest.approx(reference, rel=1e-5)
    assert KLDivergence(loss_weight=3.0)(predicted, target).item() == pytest.approx(3 * reference, rel=1e-5)


def test_with_label_softmax_the_labels_themselves_have_zero_loss():
    target = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0))
    assert KLDivergence(beta=10.0, label_softmax=True)(target, target).item() == pytest.approx(0, abs=1e-7)
    assert KLDivergence(beta=10.0, label_softmax=True)(2 * target, target).item() > 0.001


def test_a_keypoint_without_weight_stays_in_the_denominator_and_has_no_gradient():
    predicted = torch.zeros(1, 2, 4, requires_grad=True)
    one = F.one_hot(torch.tensor([[1, 2]]), 4).float()
    loss = KLDivergence()(predicted, one, torch.tensor([[1.0, 0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4) / 8)
    assert predicted.grad[0, 0].any()
    assert not predicted.grad[0, 1].any()


def test_the_gradient_raises_the_target_bin():
    predicted = torch.zeros(1, 1, 4, requires_grad=True)
    KLDivergence()(predicted, torch.tensor([[[0.0, 1, 0, 0]]])).backward()
    assert predicted.grad.flatten().tolist() == pytest.approx([0.0625, -0.1875, 0.0625, 0.0625])


def test_two_distributions_without_a_common_cell_differ_by_ln_2():
    one, other = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    one[..., 0, 0] = other[..., 1, 1] = 1
    assert JensenShannon()(one, other).item() == pytest.approx(math.log(2))
    assert JensenShannon()(one, one).item() == 0


def test_the_divergence_from_the_average_is_symmetric_and_ignores_scale():
    one, other = torch.rand(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    reference = JensenShannon()(one, other).item()
    assert JensenShannon()(other, one).item() == pytest.approx(reference)
    assert JensenShannon()(3 * one, other).item() == pytest.approx(reference, rel=1e-5)


def test_it_is_the_mean_of_both_divergences_from_the_average():
    """Of (1, 0) and (1/2, 1/2) the average is (3/4, 1/4): half of ln 4/3, and half of ln 2/3 and ln 2, halved."""
    one, other = torch.tensor([[[[1.0, 0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    expected = 0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert JensenShannon()(one, other).item() == pytest.approx(expected)


@pytest.mark.parametrize('diagonal', [0, 0.5])
def test_empty_cells_and_empty_maps_have_finite_gradients(diagonal):
    predicted = (diagonal * torch.eye(2)[None, None]).requires_grad_()
    JensenShannon()(predicted, torch.eye(2).flip(0)[None, None] / 2).backward()
    assert torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize('beta', [0, -1, math.inf])
def test_an_invalid_beta_is_an_error(beta):
    with pytest.raises(ConfigError, match='KLDivergence: beta is a positive number'):
        KLDivergence(beta=beta)
