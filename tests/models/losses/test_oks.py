import math

import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.grouping.oks import oks
from poseplug.models.losses.oks import OKSLoss
from poseplug.skeletons.coco import COCO


def test_a_keypoint_two_sigmas_off_has_the_similarity_exp_of_minus_a_half():
    """d = 2 sigma: exp(-(2 s)² / (8 s²)); the other keypoint is right, and each counts half."""
    predicted = torch.tensor([[[0.2, 0.0], [0.5, 0.5]]])
    target = torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])
    assert OKSLoss(sigmas=(0.1, 0.2))(predicted, target).item() == pytest.approx((1 - math.exp(-0.5)) / 2)


def test_an_instance_with_all_keypoints_costs_1_minus_cocos_oks():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, 17, 2, generator=generator) * 100
    predicted, areas = target + torch.randn(1, 17, 2, generator=generator) * 5, torch.tensor([[6400.0]])
    similarity = oks(predicted, target, areas, torch.tensor(COCO.sigmas)).item()
    assert OKSLoss(COCO.sigmas)(predicted / 80, target / 80).item() == pytest.approx(1 - similarity, abs=1e-5)


def test_keypoints_without_weight_make_an_instance_count_less():
    predicted, target = torch.ones(1, 4, 2), torch.zeros(1, 4, 2)
    loss = OKSLoss(sigmas=(0.01,) * 4)
    assert loss(predicted, target, torch.tensor([[1.0, 1, 1, 0]])).item() == pytest.approx(0.75)


def test_distant_keypoints_cost_1_and_have_a_finite_gradient():
    predicted = torch.full((1, 2, 2), 1e6, requires_grad=True)
    loss = OKSLoss(sigmas=(0.1, 0.1))(predicted, torch.zeros(1, 2, 2))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(predicted.grad).all()


def test_a_skeleton_without_sigmas_is_refused():
    with pytest.raises(ConfigError, match='needs the sigmas'):
        OKSLoss(sigmas=None)
