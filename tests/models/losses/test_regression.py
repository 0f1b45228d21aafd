import math

import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.losses.regression import L1Loss, SmoothL1Loss, WingLoss


def off_by(*differences: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One image with one keypoint for each difference, in x; y is right."""
    target = torch.zeros(1, len(differences), 2)
    predicted = target.clone()
    predicted[0, :, 0] = torch.tensor(differences)
    return predicted, target


def test_absolute_differences_are_averaged_over_all_numbers():
    assert L1Loss()(*off_by(1.0, -3.0)).item() == pytest.approx(4 / 4)
    assert L1Loss(loss_weight=5.0)(*off_by(1.0, -3.0)).item() == pytest.approx(5)


def test_small_differences_are_squared_below_beta():
    assert SmoothL1Loss()(*off_by(0.5)).item() == pytest.approx(0.125 / 2)
    assert SmoothL1Loss()(*off_by(3.0)).item() == pytest.approx(2.5 / 2)
    assert SmoothL1Loss(beta=0.2)(*off_by(0.1)).item() == pytest.approx(0.1**2 / 0.4 / 2)
    assert SmoothL1Loss(beta=0.2)(*off_by(3.0)).item() == pytest.approx(2.9 / 2)


def test_a_wing_is_a_logarithm_below_omega_and_a_line_above():
    assert WingLoss()(*off_by(2.0)).item() == pytest.approx(10 * math.log(2) / 2)
    assert WingLoss()(*off_by(-14.0)).item() == pytest.approx((14 - (10 - 10 * math.log(6))) / 2)


@pytest.mark.parametrize(
    ('loss', 'threshold'), [(SmoothL1Loss(), 1.0), (SmoothL1Loss(0.3), 0.3), (WingLoss(), 10.0), (WingLoss(3, 1), 3.0)]
)
def test_both_sides_meet_at_the_threshold(loss, threshold):
    below, above = (loss(*off_by(threshold + d)).item() for d in (-1e-5, 1e-5))
    assert below == pytest.approx(above, abs=1e-4)


@pytest.mark.parametrize('loss', [L1Loss(), SmoothL1Loss(), WingLoss()])
def test_the_sign_does_not_matter_and_a_keypoint_without_weight_stays_in_the_denominator(loss):
    one = loss(*off_by(0.7, 0)).item()
    assert loss(*off_by(-0.7, 0)).item() == pytest.approx(one)
    assert loss(*off_by(0.7, 9.0), torch.tensor([[1.0, 0]])).item() == pytest.approx(one)
    assert loss(*off_by(0.7, 0.7), torch.tensor([[1.0, 1]])).item() == pytest.approx(2 * one)


@pytest.mark.parametrize('loss', [L1Loss(), SmoothL1Loss(), WingLoss()])
def test_half_precision_points_are_compared_in_full_precision(loss):
    predicted, target = (t.bfloat16() for t in off_by(0.7, 0.1))
    assert loss(predicted, target).dtype == torch.float32


def test_settings_are_positive():
    with pytest.raises(ConfigError, match='SmoothL1Loss: beta is a positive number; got 0'):
        SmoothL1Loss(beta=0)
    with pytest.raises(ConfigError, match='WingLoss: epsilon is a positive number; got -2'):
        WingLoss(epsilon=-2)
