import math

import pytest
import torch

from poseplug.errors import ConfigError
from poseplug.grouping.oks import oks
from poseplug.models.losses.oks import OKS
from poseplug.skeletons.coco import COCO


def test_a_joint_two_sigmas_off_is_exp_of_minus_a_half_alike():
    """d = 2 sigma: exp(-(2 s)² / (8 s²)); the other joint is right, and each counts half."""
    found = torch.tensor([[[0.2, 0.0], [0.5, 0.5]]])
    wanted = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    assert OKS(sigmas=(0.1, 0.2))(found, wanted).item() == pytest.approx((1 - math.exp(-0.5)) / 2)


def test_a_person_with_all_joints_costs_1_minus_cocos_similarity():
    chance = torch.Generator().manual_seed(0)
    true = torch.rand(1, 17, 2, generator=chance) * 100
    found, areas = true + torch.randn(1, 17, 2, generator=chance) * 5, torch.tensor([[6400.0]])
    alike = oks(found, true, areas, torch.tensor(COCO.sigmas)).item()
    assert OKS(COCO.sigmas)(found / 80, true / 80).item() == pytest.approx(1 - alike, abs=1e-5)


def test_joints_without_weight_make_a_person_count_less():
    found, wanted = torch.ones(1, 4, 2), torch.zeros(1, 4, 2)
    loss = OKS(sigmas=(0.01,) * 4)
    assert loss(found, wanted, torch.tensor([[1.0, 1, 1, 0]])).item() == pytest.approx(0.75)


def test_joints_far_away_cost_1_and_pull_nowhere_that_is_no_number():
    found = torch.full((1, 2, 2), 1e6, requires_grad=True)
    loss = OKS(sigmas=(0.1, 0.1))(found, torch.zeros(1, 2, 2))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(found.grad).all()


def test_a_skeleton_without_sigmas_is_refused():
    with pytest.raises(ConfigError, match='needs the sigmas'):
        OKS(sigmas=None)
