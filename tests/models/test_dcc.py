"""The dynamic coordinate classifier."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import ConfigError
from poseplug.models.dcc import DCC, Distributions


def classifier(**settings):
    torch.manual_seed(0)
    return DCC(3, 16, (96, 64), channels=32, bins=(24, 32), **settings).eval()


def people(count=4):
    g = torch.Generator().manual_seed(1)
    low = torch.rand(count, 2, generator=g) * 40
    boxes = torch.cat([low, low + 10 + torch.rand(count, 2, generator=g) * 30], dim=1)
    return torch.randn(count, 16, generator=g), boxes, (boxes[:, :2] + boxes[:, 2:]) / 2


def test_the_expectation_of_a_sure_bin_is_its_place():
    x, y = torch.zeros(1, 2, 5), torch.zeros(1, 2, 4)
    x[0, 0, 3] = x[0, 1, 0] = y[0, 0, 1] = y[0, 1, 3] = 1
    found = Distributions(x, y, torch.arange(5.0)[None] * 10, torch.arange(4.0)[None] + 7, torch.ones(1, 2))
    assert found.expectation().tolist() == [[[30, 8], [0, 10]]]


def test_bins_lie_evenly_over_the_enlarged_box_ends_included():
    x, y = classifier().places(torch.tensor([[10.0, 20, 50, 60]]))
    assert x.shape == (1, 24)
    assert y.shape == (1, 32)
    assert_close(x[0, [0, -1]], torch.tensor([5.0, 55.0]))
    assert_close(y[0, [0, -1]], torch.tensor([15.0, 65.0]))
    assert_close(x.diff(), torch.full((1, 23), 50 / 23))


def test_bins_move_and_grow_with_the_box():
    dcc, boxes = classifier(), torch.tensor([[10.0, 20, 50, 60]])
    x, y = dcc.places(boxes)
    moved = dcc.places(boxes + torch.tensor([3.0, -2, 3, -2]))
    assert_close(moved[0], x + 3)
    assert_close(moved[1], y - 2)
    assert_close(dcc.places(2 * boxes)[0], 2 * x)


def test_joints_move_with_a_person_whose_box_and_cell_move():
    dcc, (vectors, boxes, points) = classifier(), people()
    before = dcc(vectors, boxes, points).expectation()
    after = dcc(vectors, boxes + 11, points + 11).expectation()
    assert_close(after, before + 11, atol=1e-3, rtol=0)


def test_distributions_have_a_sum_of_1_and_the_joints_lie_on_the_enlarged_box():
    vectors, boxes, points = people()
    found = classifier()(vectors, boxes, points)
    assert_close(found.x.sum(-1), torch.ones(4, 3))
    assert_close(found.y.sum(-1), torch.ones(4, 3))
    joints, margin = found.expectation(), (boxes[:, 2:] - boxes[:, :2])[:, None] * 0.125
    assert (joints >= boxes[:, None, :2] - margin).all()
    assert (joints <= boxes[:, None, 2:] + margin).all()


def test_the_spread_is_within_a_tenth_at_first():
    spread = classifier()(*people()).spread
    assert spread.shape == (4, 3)
    assert (spread > 0).all()
    assert (spread < 0.1).all()


def test_static_bins_lie_over_the_input_and_look_at_no_box():
    dcc, (vectors, boxes, points) = classifier(dynamic=False), people()
    x, _ = dcc.places(boxes)
    assert_close(x[:, [0, -1]], torch.tensor([[0.0, 95.0]]).expand(4, 2))
    assert_close(dcc(vectors, boxes, points).expectation(), dcc(vectors, boxes + 9, points - 5).expectation())


def test_nobody_has_no_joints():
    vectors, boxes, points = people(0)
    assert classifier()(vectors, boxes, points).expectation().shape == (0, 3, 2)


@pytest.mark.parametrize('settings', [dict(padding=0.0), dict(bins=(1, 8))])
def test_a_setting_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match='padding is positive and bins are 2 or more a side'):
        DCC(3, 16, (96, 64), **settings)


def test_at_first_joints_hardly_hear_each_other():
    dcc = classifier()
    tokens = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(2))
    assert (dcc.attention(tokens, dcc.code) - tokens).abs().max() < 0.2
