import math

import pytest
import torch

from poseplug.errors import ConfigError, MismatchError
from poseplug.models.losses.rle import NARROWEST, RLE, RealNVP

ORIGIN = math.log(2 * math.pi)  # minus the logarithm of the normal density of the plane at 0


def field(*joints: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([joints])


def test_before_the_flow_learns_it_is_a_laplace_and_a_normal_distribution():
    """One joint off by 0.1 in x with spreads of 0.2 and 0.5: e is (0.5, 0)."""
    predicted, wanted = field((0.4, 0.5, 0.2, 0.5)), field((0.5, 0.5, 0, 0))
    by_hand = math.log(2 * 0.2) + 0.5 + math.log(2 * 0.5) + 0.5**2 / 2 + ORIGIN
    assert RLE()(predicted, wanted).item() == pytest.approx(by_hand, rel=1e-5)


def test_it_is_least_at_the_joint_and_a_wrong_joint_wants_a_wider_spread():
    wanted = field((0.5, 0.5, 0, 0))
    right, wrong = RLE()(field((0.5, 0.5, 0.1, 0.1)), wanted), RLE()(field((0.6, 0.5, 0.1, 0.1)), wanted)
    assert right < wrong
    predicted = field((0.9, 0.5, 0.1, 0.1)).requires_grad_()
    RLE()(predicted, wanted).backward()
    assert predicted.grad[0, 0, 2] < 0 < predicted.grad[0, 0, 3]


def test_what_is_wanted_of_spreads_means_nothing():
    predicted = field((0.4, 0.5, 0.2, 0.5))
    losses = [RLE()(predicted, field((0.5, 0.5, s, s))).item() for s in (0.0, 0.7)]
    assert losses[0] == losses[1]


def test_a_joint_without_weight_stays_in_the_denominator():
    predicted, wanted = field((0.4, 0.5, 0.2, 0.5), (0.9, 0.1, 0.3, 0.3)), field((0.5, 0.5, 0, 0), (0, 0, 0, 0))
    one = RLE()(predicted[:, :1], wanted[:, :1]).item()
    assert RLE()(predicted, wanted, torch.tensor([[1.0, 0]])).item() == pytest.approx(one / 2)


def test_a_spread_of_nothing_counts_as_the_narrowest():
    nothing = RLE()(field((0.5, 0.5, 0, 0)), field((0.5, 0.5, 0, 0))).item()
    assert nothing == pytest.approx(2 * math.log(2 * NARROWEST) + ORIGIN, rel=1e-5)


@torch.no_grad()
def test_whatever_the_flow_has_learned_its_density_has_a_sum_of_one():
    torch.manual_seed(0)
    flow = RealNVP(layers=4, width=8)
    for p in flow.parameters():
        p.copy_(0.3 * torch.randn_like(p))
    side = torch.linspace(-12, 12, 481)
    plane = torch.stack(torch.meshgrid(side, side, indexing='ij'), dim=-1)
    density = flow(plane).exp()
    assert (density.sum() * 0.05**2).item() == pytest.approx(1, abs=2e-3)
    assert (density - torch.exp(-plane.square().sum(-1) / 2 - ORIGIN)).abs().max() > 0.01


def test_all_of_the_flow_learns():
    torch.manual_seed(0)
    loss = RLE(layers=2, width=4)
    for network in (*loss.flow.scales, *loss.flow.moves):
        torch.nn.init.normal_(network[-1].weight)
    predicted = torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(0))
    loss(predicted, predicted.flip(0)).backward()
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


def test_half_precision_is_computed_in_full_precision():
    predicted = field((0.4, 0.5, 0.2, 0.5)).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        assert RLE()(predicted, predicted).dtype == torch.float32


def test_points_without_spreads_and_an_odd_number_of_layers_are_errors():
    with pytest.raises(MismatchError, match=r'shape \(3, 2\); set model.codec.type to RLERegression'):
        RLE()(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    with pytest.raises(ConfigError, match='got layers=3'):
        RLE(layers=3)
