"""The loss of tags, in pictures whose pull and push can be worked by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError
from poseplug.models.losses.associative import AssociativeEmbedding
from poseplug.testing import LossContract


def maps(*pictures):
    """(B, 1, 1, W) of rows of numbers."""
    return torch.tensor(pictures, dtype=torch.float32)[:, None, None]


def parts(predicted, wanted, weight=None):
    """Pull and push, each alone."""
    pull = AssociativeEmbedding(push=0.0)(predicted, wanted, weight)
    return float(pull), float(AssociativeEmbedding(push=1.0)(predicted, wanted, weight) - pull)


class TestLaws(LossContract):
    """Of maps in which three people have some joints."""

    zero_when_equal = False

    def make(self):
        return AssociativeEmbedding()

    def pair(self, seed=0):
        predicted, chance = super().pair(seed)
        return predicted, (4 * chance).floor()


def test_tags_of_one_person_are_pulled_to_their_mean():
    """1 and 3 about 2: the mean of 1 and 1. Nobody is there to be pushed from."""
    assert parts(maps([1.0, 3.0, 50.0]), maps([1.0, 1.0, 0.0])) == (1.0, 0.0)


def test_means_of_two_people_are_pushed_apart():
    """Of 0 and 0.5 the distance is half: exp(-1/4), of either pair of the two."""
    pull, push = parts(maps([0.0, 0.5]), maps([1.0, 2.0]))
    assert (pull, push) == pytest.approx((0.0, math.exp(-0.25)))


def test_of_three_people_every_pair_counts_the_same():
    pull, push = parts(maps([0.0, 1.0, 2.0]), maps([1.0, 2.0, 5.0]))
    assert (pull, push) == pytest.approx((0.0, (2 * math.exp(-1) + math.exp(-4)) / 3))


def test_pull_is_a_mean_over_people_whatever_their_joints():
    """One of two joints, 1 off their mean; one of a single joint, which is its mean."""
    assert parts(maps([0.0, 2.0, 100.0]), maps([1.0, 1.0, 2.0]))[0] == 0.5


def test_pictures_count_alike_and_people_of_two_pictures_are_strangers():
    predicted, wanted = maps([1.0, 3.0], [0.0, 0.5], [7.0, 9.0]), maps([1.0, 1.0], [1.0, 2.0], [0.0, 0.0])
    assert parts(predicted, wanted) == pytest.approx((1 / 3, math.exp(-0.25) / 3))


def test_joints_of_one_person_lie_in_several_maps():
    predicted = torch.tensor([[[[1.0, 9.0]], [[9.0, 3.0]]]])
    wanted = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert parts(predicted, wanted) == (1.0, 0.0)


def test_the_numbers_of_people_are_names():
    predicted = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    wanted = torch.randint(0, 4, predicted.shape, generator=torch.Generator().manual_seed(1)).float()
    renamed = torch.tensor([0.0, 30.0, 2.0, 7.0])[wanted.long()]
    assert_close(AssociativeEmbedding()(predicted, renamed), AssociativeEmbedding()(predicted, wanted))


def test_adding_a_number_to_every_tag_changes_nothing():
    predicted, wanted = torch.rand(2, 3, 4, 5), torch.randint(0, 4, (2, 3, 4, 5)).float()
    assert_close(AssociativeEmbedding()(predicted + 3, wanted), AssociativeEmbedding()(predicted, wanted))


def test_the_gradient_pulls_and_pushes_as_the_derivatives_say():
    """Tags a, b of one and c of another: pull (a - b)² / 8, push exp(-(m - c)²), m = (a + b) / 2, half as much."""
    tags = maps([1.0, 2.0, 2.0]).requires_grad_()
    AssociativeEmbedding(factor=2.0)(tags, maps([1.0, 1.0, 2.0])).backward()
    near, d = math.exp(-0.25), -0.5
    push = 0.5 * near * -2 * d
    wanted = [2 * (-1 / 4 + push / 2), 2 * (1 / 4 + push / 2), 2 * -push]
    assert tags.grad.flatten().tolist() == pytest.approx(wanted)


def test_what_has_no_weight_does_not_count():
    """By map, or cell by cell."""
    predicted, wanted = torch.tensor([[[[0.0]], [[2.0]], [[9.0]]]]), torch.ones(1, 3, 1, 1)
    assert parts(predicted, wanted, torch.tensor([[1.0, 1.0, 0.0]])) == (1.0, 0.0)
    assert parts(predicted, wanted, torch.tensor([[[[1.0]], [[0.3]], [[0.0]]]])) == (1.0, 0.0)


def test_a_picture_of_nobody_costs_nothing_and_has_a_gradient():
    predicted = torch.rand(2, 3, 4, 5).requires_grad_()
    loss = AssociativeEmbedding()(predicted, torch.zeros(2, 3, 4, 5))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not predicted.grad.any()


@pytest.mark.parametrize('settings', [dict(factor=-1.0), dict(push=-0.5)])
def test_a_negative_factor_is_an_error(settings):
    with pytest.raises(ConfigError, match=f'{next(iter(settings))} is not negative; got -'):
        AssociativeEmbedding(**settings)
