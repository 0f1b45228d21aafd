import math

import pytest
import torch

from poseplug.errors import ConfigError
from poseplug.models.losses.regression import L1, SmoothL1, Wing


def off_by(*differences: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture with one joint for each difference, in x; y is right."""
    wanted = torch.zeros(1, len(differences), 2)
    predicted = wanted.clone()
    predicted[0, :, 0] = torch.tensor(differences)
    return predicted, wanted


def test_absolute_differences_are_averaged_over_all_numbers():
    assert L1()(*off_by(1.0, -3.0)).item() == pytest.approx(4 / 4)
    assert L1(factor=5.0)(*off_by(1.0, -3.0)).item() == pytest.approx(5)


def test_small_differences_are_squared_below_the_edge():
    assert SmoothL1()(*off_by(0.5)).item() == pytest.approx(0.125 / 2)
    assert SmoothL1()(*off_by(3.0)).item() == pytest.approx(2.5 / 2)
    assert SmoothL1(edge=0.2)(*off_by(0.1)).item() == pytest.approx(0.1**2 / 0.4 / 2)
    assert SmoothL1(edge=0.2)(*off_by(3.0)).item() == pytest.approx(2.9 / 2)


def test_a_wing_is_a_logarithm_within_its_width_and_a_line_beyond():
    assert Wing()(*off_by(2.0)).item() == pytest.approx(10 * math.log(2) / 2)
    assert Wing()(*off_by(-14.0)).item() == pytest.approx((14 - (10 - 10 * math.log(6))) / 2)


@pytest.mark.parametrize(('loss', 'edge'), [(SmoothL1(), 1.0), (SmoothL1(0.3), 0.3), (Wing(), 10.0), (Wing(3, 1), 3.0)])
def test_both_sides_meet_at_the_edge(loss, edge):
    below, above = (loss(*off_by(edge + d)).item() for d in (-1e-5, 1e-5))
    assert below == pytest.approx(above, abs=1e-4)


@pytest.mark.parametrize('loss', [L1(), SmoothL1(), Wing()])
def test_the_sign_does_not_matter_and_a_joint_without_weight_stays_in_the_denominator(loss):
    one = loss(*off_by(0.7, 0)).item()
    assert loss(*off_by(-0.7, 0)).item() == pytest.approx(one)
    assert loss(*off_by(0.7, 9.0), torch.tensor([[1.0, 0]])).item() == pytest.approx(one)
    assert loss(*off_by(0.7, 0.7), torch.tensor([[1.0, 1]])).item() == pytest.approx(2 * one)


@pytest.mark.parametrize('loss', [L1(), SmoothL1(), Wing()])
def test_half_precision_points_are_compared_in_full_precision(loss):
    predicted, wanted = (t.bfloat16() for t in off_by(0.7, 0.1))
    assert loss(predicted, wanted).dtype == torch.float32


def test_widths_are_positive():
    with pytest.raises(ConfigError, match='SmoothL1: edge is a positive number; got 0'):
        SmoothL1(edge=0)
    with pytest.raises(ConfigError, match='Wing: curve is a positive number; got -2'):
        Wing(curve=-2)
