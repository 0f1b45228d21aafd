import pytest
import torch

from poseplug.errors import ConfigError
from poseplug.models.losses.base import LossTable
from poseplug.models.losses.ohkm import OHKM


def off_by(*differences: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture whose joints are wrong by a constant each."""
    wanted = torch.rand(1, len(differences), 3, 4, generator=torch.Generator().manual_seed(0))
    return wanted + torch.tensor(differences)[None, :, None, None], wanted


def test_only_the_hardest_joints_are_counted():
    assert OHKM(top=2)(*off_by(1.0, -3.0, 0.5, 2.0)).item() == pytest.approx((9 + 4) / 2)
    assert OHKM(top=2, factor=0.5)(*off_by(1.0, -3.0, 0.5, 2.0)).item() == pytest.approx((9 + 4) / 4)


def test_joints_without_weight_are_not_hard_and_the_sum_is_divided_by_top_all_the_same():
    assert OHKM(top=2)(*off_by(1.0, -3.0, 0.5), torch.tensor([[0.0, 0, 1]])).item() == pytest.approx(0.25 / 2)


def test_every_picture_has_its_own_hardest_joints():
    predicted, wanted = (torch.cat(pair) for pair in zip(off_by(1.0, 0.0), off_by(0.0, 3.0), strict=True))
    assert OHKM(top=1)(predicted, wanted).item() == pytest.approx((1 + 9) / 2)


def test_with_all_joints_it_is_the_mean_of_squares():
    predicted, wanted = off_by(1.0, -3.0, 0.5)
    assert OHKM(top=3)(predicted, wanted).item() == pytest.approx((predicted - wanted).square().mean().item())


def test_easy_joints_get_no_gradient():
    predicted, wanted = off_by(1.0, -3.0, 0.5)
    predicted.requires_grad_()
    OHKM(top=1)(predicted, wanted).backward()
    assert predicted.grad[0, 1].all()
    assert not predicted.grad[0, [0, 2]].any()


def test_cpn_trains_its_levels_by_their_mean_halved_and_its_last_stage_by_the_hardest():
    level = dict(type='MeanSquaredError', factor=0.5 / 4)
    table = LossTable([level] * 4 + [dict(type='OHKM', top=2)], ['heatmap'], stages=5)
    predicted, wanted = off_by(1.0, -3.0, 0.5)
    total = sum(table.of(stage, 'heatmap')(predicted, wanted).item() for stage in range(5))
    assert total == pytest.approx(0.5 * (1 + 9 + 0.25) / 3 + (9 + 1) / 2)


def test_more_joints_than_there_are_cannot_be_the_hardest():
    with pytest.raises(ConfigError, match=r'8 hardest channels, but the field has 3; set model.loss.top to 3 or less'):
        OHKM()(*off_by(1.0, -3.0, 0.5))


def test_no_joint_at_all_is_no_loss():
    with pytest.raises(ConfigError, match='at least one joint of a picture; got top=0'):
        OHKM(top=0)
