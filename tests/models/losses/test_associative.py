"""The loss of tags, in images whose pull and push can be computed by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.losses.associative import AssociativeEmbeddingLoss
from poseplug.testing import LossContract


def build_maps(*rows):
    """(B, 1, 1, W) of rows of numbers."""
    return torch.tensor(rows, dtype=torch.float32)[:, None, None]


def pull_and_push(predicted, target, weight=None):
    """Pull and push, each separately."""
    pull = AssociativeEmbeddingLoss(push_loss_factor=0.0)(predicted, target, weight)
    return float(pull), float(AssociativeEmbeddingLoss(push_loss_factor=1.0)(predicted, target, weight) - pull)


class TestLaws(LossContract):
    """For maps in which three instances have some keypoints."""

    zero_when_equal = False

    def build_part(self):
        return AssociativeEmbeddingLoss()

    def random_pair(self, seed=0):
        predicted, target = super().random_pair(seed)
        return predicted, (4 * target).floor()


def test_tags_of_one_instance_are_pulled_to_their_mean():
    """1 and 3 about 2: the mean of 1 and 1. There is no other mean to be pushed from."""
    assert pull_and_push(build_maps([1.0, 3.0, 50.0]), build_maps([1.0, 1.0, 0.0])) == (1.0, 0.0)


def test_means_of_two_instances_are_pushed_apart():
    """Of 0 and 0.5 the distance is half: exp(-1/4), for each order of the two."""
    pull, push = pull_and_push(build_maps([0.0, 0.5]), build_maps([1.0, 2.0]))
    assert (pull, push) == pytest.approx((0.0, math.exp(-0.25)))


def test_all_pairs_of_three_instances_count_the_same():
    pull, push = pull_and_push(build_maps([0.0, 1.0, 2.0]), build_maps([1.0, 2.0, 5.0]))
    assert (pull, push) == pytest.approx((0.0, (2 * math.exp(-1) + math.exp(-4)) / 3))


def test_pull_is_a_mean_over_instances_whatever_their_number_of_keypoints():
    """One instance of two keypoints, 1 off their mean; one of a single keypoint, which is its mean."""
    assert pull_and_push(build_maps([0.0, 2.0, 100.0]), build_maps([1.0, 1.0, 2.0]))[0] == 0.5


def test_images_count_the_same_and_instances_of_two_images_are_not_pushed():
    predicted, target = build_maps([1.0, 3.0], [0.0, 0.5], [7.0, 9.0]), build_maps([1.0, 1.0], [1.0, 2.0], [0.0, 0.0])
    assert pull_and_push(predicted, target) == pytest.approx((1 / 3, math.exp(-0.25) / 3))


def test_keypoints_of_one_instance_lie_in_several_maps():
    predicted = torch.tensor([[[[1.0, 9.0]], [[9.0, 3.0]]]])
    target = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert pull_and_push(predicted, target) == (1.0, 0.0)


def test_the_numbers_of_instances_are_only_names():
    predicted = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 4, predicted.shape, generator=torch.Generator().manual_seed(1)).float()
    renumbered = torch.tensor([0.0, 30.0, 2.0, 7.0])[target.long()]
    assert_close(AssociativeEmbeddingLoss()(predicted, renumbered), AssociativeEmbeddingLoss()(predicted, target))


def test_adding_a_number_to_every_tag_changes_nothing():
    predicted, target = torch.rand(2, 3, 4, 5), torch.randint(0, 4, (2, 3, 4, 5)).float()
    assert_close(AssociativeEmbeddingLoss()(predicted + 3, target), AssociativeEmbeddingLoss()(predicted, target))


def test_the_gradient_pulls_and_pushes_as_the_derivatives_say():
    """Tags a, b of one and c of another: pull (a - b)² / 8, push exp(-(m - c)²), m = (a + b) / 2, times 0.5."""
    tags = build_maps([1.0, 2.0, 2.0]).requires_grad_()
    AssociativeEmbeddingLoss(loss_weight=2.0)(tags, build_maps([1.0, 1.0, 2.0])).backward()
    near, d = math.exp(-0.25), -0.5
    push = 0.5 * near * -2 * d
    expected = [2 * (-1 / 4 + push / 2), 2 * (1 / 4 + push / 2), 2 * -push]
    assert tags.grad.flatten().tolist() == pytest.approx(expected)


def test_cells_without_weight_do_not_count():
    """Weights per map, or per cell."""
    predicted, target = torch.tensor([[[[0.0]], [[2.0]], [[9.0]]]]), torch.ones(1, 3, 1, 1)
    assert pull_and_push(predicted, target, torch.tensor([[1.0, 1.0, 0.0]])) == (1.0, 0.0)
    assert pull_and_push(predicted, target, torch.tensor([[[[1.0]], [[0.3]], [[0.0]]]])) == (1.0, 0.0)


def test_an_image_without_instances_has_zero_loss_and_a_gradient():
    predicted = torch.rand(2, 3, 4, 5).requires_grad_()
    loss = AssociativeEmbeddingLoss()(predicted, torch.zeros(2, 3, 4, 5))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not predicted.grad.any()


@pytest.mark.parametrize('settings', [dict(loss_weight=-1.0), dict(push_loss_factor=-0.5)])
def test_a_negative_factor_is_an_error(settings):
    with pytest.raises(ConfigError, match=f'{next(iter(settings))} is a number from 0 on; got -'):
        AssociativeEmbeddingLoss(**settings)
