import pytest
import torch
from torch.nn import functional as F

from poseplug.models.losses.squared import MeanSquaredError, SumSquaredError

LOSSES = [SumSquaredError(), MeanSquaredError(), MeanSquaredError(skip_empty_channel=True)]


def random_pair(batch_size: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(batch_size, 15, 46, 46, generator=generator)
    return predicted, torch.rand(batch_size, 15, 46, 46, generator=generator)


def test_two_images_off_by_one_everywhere_lose_half_their_cells():
    ones = torch.ones(2, 3, 4, 5)
    assert SumSquaredError()(ones, 0 * ones).item() == 3 * 4 * 5 / 2
    assert MeanSquaredError()(ones, 0 * ones).item() == 1
    assert MeanSquaredError(7.0)(ones, 0 * ones).item() == 7


@pytest.mark.parametrize('batch_size', [1, 3])
def test_the_sum_over_2n_is_15870_times_the_mean_at_15_maps_of_46x46(batch_size):
    predicted, target = random_pair(batch_size)
    mean = F.mse_loss(predicted, target).item()
    assert SumSquaredError()(predicted, target).item() == pytest.approx(15_870 * mean, rel=1e-5)
    assert MeanSquaredError()(predicted, target).item() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_a_channel_without_weight_changes_nothing_and_has_no_gradient(loss):
    predicted, target = random_pair(2)
    weight = torch.ones(2, 15)
    weight[1, 4] = 0
    predicted.requires_grad_()
    loss(predicted, target, weight).backward()
    assert not predicted.grad[1, 4].any()
    assert predicted.grad[0, 4].all()
    same = target.clone()
    same[1, 4] = predicted.detach()[1, 4]
    assert loss(predicted, same).item() == pytest.approx(loss(predicted, target, weight).item(), rel=1e-6)


def test_the_gradient_of_the_sum_is_the_difference_per_image():
    predicted, target = random_pair(4)
    predicted.requires_grad_()
    SumSquaredError()(predicted, target).backward()
    torch.testing.assert_close(predicted.grad, (predicted.detach() - target) / 4)


@pytest.mark.parametrize('loss', LOSSES)
def test_an_empty_batch_has_zero_loss(loss):
    assert loss(*(torch.zeros(0, 15, 46, 46),) * 2).item() == 0


@pytest.mark.parametrize('loss', LOSSES)
def test_half_precision_maps_are_summed_in_full_precision(loss):
    predicted, target = (m.bfloat16() for m in random_pair(2))
    assert loss(predicted, target).dtype == torch.float32
    assert loss(predicted, target).item() == pytest.approx(loss(predicted.float(), target.float()).item())


def test_hrnet_halves_the_mean():
    predicted, target = random_pair(2)
    assert MeanSquaredError(0.5)(predicted, target).item() == pytest.approx(0.5 * F.mse_loss(predicted, target).item())


def test_a_channel_with_an_empty_target_is_ignored_if_set():
    predicted, target = random_pair(2)
    target[1, 4] = 0
    weight = torch.ones(2, 15)
    weight[1, 4] = 0
    loss = MeanSquaredError(skip_empty_channel=True)(predicted, target).item()
    assert loss == pytest.approx(MeanSquaredError()(predicted, target, weight).item())
    assert loss < MeanSquaredError()(predicted, target).item()


@pytest.mark.parametrize('loss', LOSSES)
def test_cells_without_weight_have_no_gradient(loss):
    predicted, target = random_pair(1)
    weight = torch.ones_like(target)
    weight[..., 20:] = 0
    predicted.requires_grad_()
    loss(predicted, target, weight).backward()
    assert not predicted.grad[..., 20:].any()
    assert predicted.grad[..., :20].any()
