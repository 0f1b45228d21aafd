import pytest
import torch
from torch.nn import functional as F

from poseplug.models.losses.squared import MeanSquaredError, SumSquaredError

LOSSES = [SumSquaredError(), MeanSquaredError(), MeanSquaredError(skip_empty=True)]


def maps(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 15, 46, 46, generator=chance), torch.rand(batch, 15, 46, 46, generator=chance)


def test_two_pictures_off_by_one_everywhere_lose_half_their_cells():
    ones = torch.ones(2, 3, 4, 5)
    assert SumSquaredError()(ones, 0 * ones).item() == 3 * 4 * 5 / 2
    assert MeanSquaredError()(ones, 0 * ones).item() == 1
    assert MeanSquaredError(7.0)(ones, 0 * ones).item() == 7


@pytest.mark.parametrize('batch', [1, 3])
def test_the_sum_over_2n_is_15870_times_the_mean_at_15_maps_of_46x46(batch):
    predicted, wanted = maps(batch)
    mean = F.mse_loss(predicted, wanted).item()
    assert SumSquaredError()(predicted, wanted).item() == pytest.approx(15_870 * mean, rel=1e-5)
    assert MeanSquaredError()(predicted, wanted).item() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_a_channel_without_weight_changes_nothing_and_gets_no_gradient(loss):
    predicted, wanted = maps(2)
    weight = torch.ones(2, 15)
    weight[1, 4] = 0
    predicted.requires_grad_()
    loss(predicted, wanted, weight).backward()
    assert not predicted.grad[1, 4].any()
    assert predicted.grad[0, 4].all()
    same = wanted.clone()
    same[1, 4] = predicted.detach()[1, 4]
    assert loss(predicted, same).item() == pytest.approx(loss(predicted, wanted, weight).item(), rel=1e-6)


def test_the_gradient_of_the_sum_is_the_difference_by_pictures():
    predicted, wanted = maps(4)
    predicted.requires_grad_()
    SumSquaredError()(predicted, wanted).backward()
    torch.testing.assert_close(predicted.grad, (predicted.detach() - wanted) / 4)


@pytest.mark.parametrize('loss', LOSSES)
def test_an_empty_batch_loses_nothing(loss):
    assert loss(*(torch.zeros(0, 15, 46, 46),) * 2).item() == 0


@pytest.mark.parametrize('loss', LOSSES)
def test_half_precision_maps_are_summed_in_full_precision(loss):
    predicted, wanted = (m.bfloat16() for m in maps(2))
    assert loss(predicted, wanted).dtype == torch.float32
    assert loss(predicted, wanted).item() == pytest.approx(loss(predicted.float(), wanted.float()).item())


def test_hrnet_halves_the_mean():
    predicted, wanted = maps(2)
    assert MeanSquaredError(0.5)(predicted, wanted).item() == pytest.approx(0.5 * F.mse_loss(predicted, wanted).item())


def test_a_channel_that_should_be_empty_is_left_out_where_asked():
    predicted, wanted = maps(2)
    wanted[1, 4] = 0
    weight = torch.ones(2, 15)
    weight[1, 4] = 0
    left_out = MeanSquaredError(skip_empty=True)(predicted, wanted).item()
    assert left_out == pytest.approx(MeanSquaredError()(predicted, wanted, weight).item())
    assert left_out < MeanSquaredError()(predicted, wanted).item()


@pytest.mark.parametrize('loss', LOSSES)
def test_cells_without_weight_are_not_seen(loss):
    predicted, wanted = maps(1)
    weight = torch.ones_like(wanted)
    weight[..., 20:] = 0
    predicted.requires_grad_()
    loss(predicted, wanted, weight).backward()
    assert not predicted.grad[..., 20:].any()
    assert predicted.grad[..., :20].any()
