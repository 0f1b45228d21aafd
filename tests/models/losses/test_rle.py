import math

import pytest
import torch

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.losses.rle import MIN_RELATIVE_SIGMA, RealNVP, RLELoss

ORIGIN = math.log(2 * math.pi)  # minus the logarithm of the normal density of the plane at 0


def build_field(*keypoints: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([keypoints])


def test_before_the_flow_learns_it_is_a_laplace_and_a_normal_distribution():
    """One keypoint off by 0.1 in x with sigmas of 0.2 and 0.5: e is (0.5, 0)."""
    predicted, target = build_field((0.4, 0.5, 0.2, 0.5)), build_field((0.5, 0.5, 0, 0))
    by_hand = math.log(2 * 0.2) + 0.5 + math.log(2 * 0.5) + 0.5**2 / 2 + ORIGIN
    assert RLELoss()(predicted, target).item() == pytest.approx(by_hand, rel=1e-5)


def test_it_is_smallest_at_the_keypoint_and_a_wrong_keypoint_has_a_gradient_to_a_larger_sigma():
    target = build_field((0.5, 0.5, 0, 0))
    right, wrong = (
        RLELoss()(build_field((0.5, 0.5, 0.1, 0.1)), target),
        RLELoss()(build_field((0.6, 0.5, 0.1, 0.1)), target),
    )
    assert right < wrong
    predicted = build_field((0.9, 0.5, 0.1, 0.1)).requires_grad_()
    RLELoss()(predicted, target).backward()
    assert predicted.grad[0, 0, 2] < 0 < predicted.grad[0, 0, 3]


def test_the_sigmas_of_the_target_are_ignored():
    predicted = build_field((0.4, 0.5, 0.2, 0.5))
    losses = [RLELoss()(predicted, build_field((0.5, 0.5, s, s))).item() for s in (0.0, 0.7)]
    assert losses[0] == losses[1]


def test_a_keypoint_without_weight_stays_in_the_denominator():
    predicted, target = (
        build_field((0.4, 0.5, 0.2, 0.5), (0.9, 0.1, 0.3, 0.3)),
        build_field((0.5, 0.5, 0, 0), (0, 0, 0, 0)),
    )
    one = RLELoss()(predicted[:, :1], target[:, :1]).item()
    assert RLELoss()(predicted, target, torch.tensor([[1.0, 0]])).item() == pytest.approx(one / 2)


def test_a_sigma_of_zero_counts_as_the_smallest():
    loss = RLELoss()(build_field((0.5, 0.5, 0, 0)), build_field((0.5, 0.5, 0, 0))).item()
    assert loss == pytest.approx(2 * math.log(2 * MIN_RELATIVE_SIGMA) + ORIGIN, rel=1e-5)


@torch.no_grad()
def test_a_trained_flow_is_a_density_of_sum_one():
    torch.manual_seed(0)
    flow = RealNVP(num_layers=4, hidden_channels=8)
    for p in flow.parameters():
        p.copy_(0.3 * torch.randn_like(p))
    side = torch.linspace(-12, 12, 481)
    plane = torch.stack(torch.meshgrid(side, side, indexing='ij'), dim=-1)
    density = flow(plane).exp()
    assert (density.sum() * 0.05**2).item() == pytest.approx(1, abs=2e-3)
    assert (density - torch.exp(-plane.square().sum(-1) / 2 - ORIGIN)).abs().max() > 0.01


def test_every_weight_of_the_flow_has_a_gradient():
    torch.manual_seed(0)
    loss = RLELoss(num_layers=2, hidden_channels=4)
    for network in (*loss.flow.scales, *loss.flow.moves):
        torch.nn.init.normal_(network[-1].weight)
    predicted = torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(0))
    loss(predicted, predicted.flip(0)).backward()
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


def test_half_precision_is_computed_in_full_precision():
    predicted = build_field((0.4, 0.5, 0.2, 0.5)).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        assert RLELoss()(predicted, predicted).dtype == torch.float32


def test_points_without_sigmas_and_an_odd_number_of_layers_are_errors():
    with pytest.raises(MismatchError, match=r'shape \(3, 2\); set model.codec.type to RLERegression'):
        RLELoss()(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    with pytest.raises(ConfigError, match='got num_layers=3'):
        RLELoss(num_layers=3)
