"""Losses of distributions over bins, with labels whose losses can be computed by hand."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.layers.dcc import KeypointDistributions
from poseplug.models.losses.mle import MIN_LIKELIHOOD, BinDivergence, MLECCLoss

SIZES = torch.tensor([40.0])
LOSSES = [
    MLECCLoss(),
    MLECCLoss(min_likelihood=0),
    BinDivergence(),
    BinDivergence(shape='laplace'),
    BinDivergence(shape='one_hot', label_smooth_weight=0.1),
]


def one_bin(x: int, y: int, relative_sigma: float = 0.05, num_bins: int = 21) -> KeypointDistributions:
    """One instance with one keypoint, whose probability is 1 in the bins at x and y of those at 0, 5, ... px."""
    probs = torch.zeros(2, 1, 1, num_bins)
    probs[0, ..., x] = probs[1, ..., y] = 1
    positions = 5.0 * torch.arange(num_bins)[None]
    return KeypointDistributions(probs[0], probs[1], positions, positions, torch.full((1, 1), relative_sigma))


def random_parameters(
    seed: int = 0, num_instances: int = 3, num_keypoints: int = 2, num_bins: int = 9
) -> tuple[torch.Tensor, ...]:
    """Logits in x and y, and logarithms of the sigmas, from which `build_distributions` follows."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, num_instances, num_keypoints, num_bins, generator=generator, dtype=torch.float64)
    log_sigmas = torch.full((num_instances, num_keypoints), -3.0)
    return logits[0].requires_grad_(), logits[1].requires_grad_(), log_sigmas.requires_grad_()


def build_distributions(x: torch.Tensor, y: torch.Tensor, log_sigmas: torch.Tensor) -> KeypointDistributions:
    positions = torch.arange(x.shape[-1], dtype=x.dtype).expand(len(x), -1) * 4
    return KeypointDistributions(x.softmax(-1), y.softmax(-1), positions, positions, log_sigmas.exp())


def test_one_bin_at_the_label_has_the_likelihood_one_over_sigma_on_both_axes():
    cost = MLECCLoss()(one_bin(4, 6), torch.tensor([[[20.0, 30.0]]]), SIZES).item()
    assert cost == pytest.approx(-math.log(1 / 0.05**2 + MIN_LIKELIHOOD), rel=1e-5)


def test_a_label_off_by_twice_size_times_sigma_is_e_times_less_likely():
    """A sigma of 0.05 of 40 px is 2 px: 4 px away the likelihood is e times smaller, on one axis."""
    near = MLECCLoss()(one_bin(4, 6), torch.tensor([[[20.0, 30.0]]]), SIZES).item()
    off = MLECCLoss()(one_bin(4, 6), torch.tensor([[[24.0, 30.0]]]), SIZES).item()
    assert off - near == pytest.approx(1, abs=1e-4)


def test_a_label_far_from_every_bin_costs_no_more_than_the_smallest_likelihood():
    cost = MLECCLoss()(one_bin(0, 0), torch.tensor([[[1e5, 1e5]]]), SIZES).item()
    assert cost == pytest.approx(-math.log(MIN_LIKELIHOOD))


def test_the_loss_has_its_minimum_at_the_true_keypoint():
    """Among single bins, those at the label have the smallest loss, for any label."""
    for index in (3, 10, 17):
        label = torch.tensor([[[5.0 * index, 5.0 * (20 - index)]]])
        costs = torch.tensor([[MLECCLoss()(one_bin(x, y), label, SIZES) for x in range(21)] for y in range(21)])
        assert divmod(int(costs.argmin()), 21) == (20 - index, index)


def test_descending_the_loss_brings_the_expectation_to_the_label():
    x, y, log_sigmas = random_parameters(num_instances=1, num_keypoints=1)
    label = torch.tensor([[[12.0, 20.0]]])
    optimizer = torch.optim.Adam([x, y, log_sigmas], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        MLECCLoss()(build_distributions(x, y, log_sigmas), label, SIZES).backward()
        optimizer.step()
    assert_close(build_distributions(x, y, log_sigmas).expected_keypoints().float(), label, atol=0.2, rtol=0)


def test_the_best_sigma_is_the_scatter_of_the_labels():
    """For one bin at 20 px and labels 3 px off on both axes, sum -ln p = 2 (3 / (2 s 40) + ln s): s = 3 / 80."""
    label, sigmas = torch.tensor([[[23.0, 17.0]]]), torch.linspace(0.01, 0.1, 181)
    costs = torch.stack([MLECCLoss()(one_bin(4, 4, s), label, SIZES) for s in sigmas.tolist()])
    assert sigmas[costs.argmin()].item() == pytest.approx(3 / 80, abs=0.001)


@pytest.mark.parametrize('loss', LOSSES)
def test_the_gradient_equals_finite_differences(loss):
    parts = random_parameters()
    labels, sizes = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(5)) * 30, torch.tensor([20.0, 30, 40])
    loss(build_distributions(*parts), labels, sizes).backward()
    for part in parts[:2]:
        for index in [(0, 0, 0), (1, 1, 4), (2, 0, 8)]:
            ends = []
            for step in (0.01, -0.01):
                changed = part.detach().clone()
                changed[index] += step
                ends.append(
                    loss(build_distributions(*(changed if p is part else p for p in parts)), labels, sizes).item()
                )
            assert part.grad[index].item() == pytest.approx((ends[0] - ends[1]) / 0.02, abs=2e-4)


@pytest.mark.parametrize('shape', ['gaussian', 'laplace'])
def test_the_target_distribution_itself_has_zero_divergence(shape):
    positions = torch.arange(9.0)[None] * 4
    distances = (positions - 12).abs() / (0.05 * 40)
    target = torch.exp(-(distances**2 if shape == 'gaussian' else distances) / 2)
    probs = (target / target.sum())[:, None]
    predicted = KeypointDistributions(probs, probs, positions, positions, torch.ones(1, 1))
    loss = BinDivergence(shape=shape)
    assert loss(predicted, torch.tensor([[[12.0, 12.0]]]), SIZES).item() == pytest.approx(0, abs=1e-6)


def test_labels_are_gaussian_unless_their_shape_is_named():
    """Uniform probabilities over three bins at distances of -1, 0 and 1 sigma; KL by hand."""
    positions, probs = torch.tensor([[10.0, 12.0, 14.0]]), torch.full((1, 1, 3), 1 / 3)
    predicted = KeypointDistributions(probs, probs, positions, positions, torch.ones(1, 1))
    for loss in (BinDivergence(), BinDivergence(shape='laplace')):
        label = np.exp([-0.5, 0, -0.5])  # of both shapes at one sigma
        label /= label.sum()
        expected = float((label * np.log(label * 3)).sum())
        assert loss(predicted, torch.tensor([[[12.0, 12.0]]]), SIZES).item() == pytest.approx(expected, abs=1e-6)
    far = torch.tensor([[[16.0, 16.0]]])  # 1, 2 and 3 sigma away
    for shape, exponents in (('gaussian', [-4.5, -2, -0.5]), ('laplace', [-1.5, -1, -0.5])):
        label = np.exp(exponents)
        label /= label.sum()
        expected = float((label * np.log(label * 3)).sum())
        assert BinDivergence(shape=shape)(predicted, far, SIZES).item() == pytest.approx(expected, abs=1e-6)
    assert BinDivergence().shape == 'gaussian'
    with pytest.raises(ConfigError, match="shape is one of gaussian, laplace, one_hot; got 'normal'"):
        BinDivergence(shape='normal')


def test_uniform_probabilities_diverge_by_the_logarithm_of_their_number_from_one_narrow_bin():
    positions, probs = torch.arange(8.0)[None] * 40, torch.full((1, 1, 8), 1 / 8)
    predicted = KeypointDistributions(probs, probs, positions, positions, torch.ones(1, 1))
    cost = BinDivergence(relative_sigma=1e-3)(predicted, torch.tensor([[[80.0, 40.0]]]), SIZES).item()
    assert cost == pytest.approx(math.log(8), rel=1e-4)


@pytest.mark.parametrize('loss', LOSSES)
def test_keypoints_without_weight_have_no_loss_and_no_gradient(loss):
    parts = random_parameters()
    labels, weight = torch.zeros(3, 2, 2), torch.ones(3, 2)
    weight[:, 1] = 0
    loss(build_distributions(*parts), labels, torch.full((3,), 30.0), weight).backward()
    for part in parts[:2]:
        assert part.grad[:, 0].any()
        assert not part.grad[:, 1].any()


@pytest.mark.parametrize('loss', LOSSES)
def test_instances_are_summed_and_none_have_zero_loss(loss):
    parts = random_parameters()
    labels, sizes = torch.rand(3, 2, 2) * 30, torch.tensor([20.0, 30, 40])

    def loss_of(instances: slice) -> torch.Tensor:
        return loss(build_distributions(*(p[instances] for p in parts)), labels[instances], sizes[instances])

    each = [loss_of(slice(n, n + 1)).item() for n in range(3)]
    assert loss(build_distributions(*parts), labels, sizes).item() == pytest.approx(sum(each), rel=1e-5)
    none = loss_of(slice(0))
    none.backward()
    assert none.item() == 0


@pytest.mark.parametrize('loss', LOSSES)
def test_instances_of_no_size_and_sigmas_of_zero_have_a_finite_loss(loss):
    predicted = one_bin(4, 4, relative_sigma=0.0)
    for label in ([[[20.0, 20]]], [[[21.0, 300]]]):
        assert math.isfinite(loss(predicted, torch.tensor(label), torch.zeros(1)).item())


def test_with_a_smallest_sigma_a_distant_bin_still_improves_by_coming_nearer():
    """A label at 20 px of a network that predicts 10 px or 15 px, with a sigma of 0.001."""
    label = torch.tensor([[[20.0, 20.0]]])

    def compute_gain(**settings):
        loss = MLECCLoss(**settings)
        return (loss(one_bin(2, 4, 1e-3), label, SIZES) - loss(one_bin(3, 4, 1e-3), label, SIZES)).item()

    assert compute_gain() == pytest.approx(0, abs=1e-6)
    assert compute_gain(min_relative_sigma=0.03) == pytest.approx(5 / (2 * 0.03 * 40), rel=1e-3)


def test_the_density_may_be_gaussian_and_sigma_fixed():
    """A fixed sigma of 0.1 of 40 px is 4 px, whatever is predicted: 4 px away a normal density is exp(1/2) smaller."""
    loss = MLECCLoss(shape='gaussian', fixed_relative_sigma=0.1)
    near = loss(one_bin(4, 6, 0.01), torch.tensor([[[20.0, 30.0]]]), SIZES).item()
    off = loss(one_bin(4, 6, 0.5), torch.tensor([[[24.0, 30.0]]]), SIZES).item()
    assert near == pytest.approx(-math.log(1 / 0.1**2 + MIN_LIKELIHOOD), rel=1e-5)
    assert off - near == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(ConfigError, match="MLECCLoss: shape is one of gaussian, laplace; got 'cauchy'"):
        MLECCLoss(shape='cauchy')


def test_without_a_smallest_likelihood_the_loss_is_the_sum_of_one_logarithm_per_axis():
    """Two bins in x, one in y, sigma 0.05 of 40 px = 2 px: likelihoods by hand, also far beyond float32."""
    predicted = one_bin(4, 6)
    predicted.x_probs[0, 0, 4], predicted.x_probs[0, 0, 5] = 0.25, 0.75  # at 20 and 25 px
    likelihood_x = (0.25 * math.exp(-1 / 4) + 0.75 * math.exp(-4 / 4)) / 0.05  # of a label at 21 px
    likelihood_y = math.exp(-3 / 4) / 0.05  # of a label 3 px beside the bin
    cost = MLECCLoss(min_likelihood=0)(predicted, torch.tensor([[[21.0, 33.0]]]), SIZES).item()
    assert cost == pytest.approx(-math.log(likelihood_x) - math.log(likelihood_y), rel=1e-5)
    far = MLECCLoss(min_likelihood=0)(one_bin(4, 6), torch.tensor([[[4020.0, 4030.0]]]), SIZES).item()
    assert far == pytest.approx(2 * (4000 / 4 + math.log(0.05)), rel=1e-5)
    with pytest.raises(ConfigError, match='min_likelihood is a number from 0'):
        MLECCLoss(min_likelihood=-1)


def test_one_hot_labels_are_the_cross_entropy_at_the_nearest_bin():
    """A label at 22 px belongs to the bin at 20 px, one beyond all bins to the last: -ln p of these."""
    probs = torch.tensor([[[0.5, 0.3, 0.2]]])
    positions = torch.tensor([[15.0, 20.0, 25.0]])
    predicted = KeypointDistributions(probs, probs, positions, positions, torch.ones(1, 1))
    label = torch.tensor([[[22.0, 300.0]]])
    cost = BinDivergence(shape='one_hot')(predicted, label, SIZES).item()
    assert cost == pytest.approx(-(math.log(0.3) + math.log(0.2)) / 2, rel=1e-5)
    # with 0.2 of the mass on the two other bins: the cross entropy less the entropy of the label
    smoothed = BinDivergence(shape='one_hot', label_smooth_weight=0.2)(predicted, label, SIZES).item()
    x, y = np.array([0.1, 0.8, 0.1]), np.array([0.1, 0.1, 0.8])
    expected = sum(float((t * np.log(t / np.array([0.5, 0.3, 0.2]))).sum()) for t in (x, y)) / 2
    assert smoothed == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="label_smooth_weight changes nothing with shape='gaussian'; set shape="):
        BinDivergence(label_smooth_weight=0.1)
