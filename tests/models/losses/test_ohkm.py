import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.losses.base import LossTable
from poseplug.models.losses.ohkm import OHKMLoss


def off_by(*differences: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One image whose keypoints are wrong by a constant each."""
    target = torch.rand(1, len(differences), 3, 4, generator=torch.Generator().manual_seed(0))
    return target + torch.tensor(differences)[None, :, None, None], target


def test_only_the_hardest_keypoints_are_counted():
    assert OHKMLoss(topk=2)(*off_by(1.0, -3.0, 0.5, 2.0)).item() == pytest.approx((9 + 4) / 2)
    assert OHKMLoss(topk=2, loss_weight=0.5)(*off_by(1.0, -3.0, 0.5, 2.0)).item() == pytest.approx((9 + 4) / 4)


def test_keypoints_without_weight_are_not_hard_and_the_sum_is_still_divided_by_topk():
    assert OHKMLoss(topk=2)(*off_by(1.0, -3.0, 0.5), torch.tensor([[0.0, 0, 1]])).item() == pytest.approx(0.25 / 2)


def test_every_image_has_its_hardest_keypoints():
    predicted, target = (torch.cat(pair) for pair in zip(off_by(1.0, 0.0), off_by(0.0, 3.0), strict=True))
    assert OHKMLoss(topk=1)(predicted, target).item() == pytest.approx((1 + 9) / 2)


def test_with_all_keypoints_it_is_the_mean_of_squares():
    predicted, target = off_by(1.0, -3.0, 0.5)
    assert OHKMLoss(topk=3)(predicted, target).item() == pytest.approx((predicted - target).square().mean().item())


def test_easy_keypoints_have_no_gradient():
    predicted, target = off_by(1.0, -3.0, 0.5)
    predicted.requires_grad_()
    OHKMLoss(topk=1)(predicted, target).backward()
    assert predicted.grad[0, 1].all()
    assert not predicted.grad[0, [0, 2]].any()


def test_cpn_trains_its_levels_by_their_mean_halved_and_its_last_stage_by_the_hardest():
    level = dict(type='MeanSquaredError', loss_weight=0.5 / 4)
    table = LossTable([level] * 4 + [dict(type='OHKMLoss', topk=2)], ['heatmap'], num_stages=5)
    predicted, target = off_by(1.0, -3.0, 0.5)
    total = sum(table.get_loss(stage, 'heatmap')(predicted, target).item() for stage in range(5))
    assert total == pytest.approx(0.5 * (1 + 9 + 0.25) / 3 + (9 + 1) / 2)


def test_a_topk_above_the_number_of_channels_is_an_error():
    with pytest.raises(ConfigError, match=r'8 hardest channels, but the field has 3; set model.loss.topk to 3 or less'):
        OHKMLoss()(*off_by(1.0, -3.0, 0.5))


def test_a_topk_of_zero_is_an_error():
    with pytest.raises(ConfigError, match='topk is a whole number from 1 on; got 0'):
        OHKMLoss(topk=0)
