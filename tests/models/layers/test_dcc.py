"""The dynamic coordinate classifier."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.layers.dcc import DCC, KeypointDistributions
from poseplug.models.layers.position_encoding import sine_encoding


def build_classifier(**settings):
    torch.manual_seed(0)
    return DCC(3, 16, (96, 64), feat_channels=32, num_bins=(24, 32), **settings).eval()


def random_instances(count=4):
    g = torch.Generator().manual_seed(1)
    low = torch.rand(count, 2, generator=g) * 40
    boxes = torch.cat([low, low + 10 + torch.rand(count, 2, generator=g) * 30], dim=1)
    return torch.randn(count, 16, generator=g), boxes, (boxes[:, :2] + boxes[:, 2:]) / 2


def test_the_expectation_of_one_bin_is_its_position():
    x, y = torch.zeros(1, 2, 5), torch.zeros(1, 2, 4)
    x[0, 0, 3] = x[0, 1, 0] = y[0, 0, 1] = y[0, 1, 3] = 1
    distributions = KeypointDistributions(
        x, y, torch.arange(5.0)[None] * 10, torch.arange(4.0)[None] + 7, torch.ones(1, 2)
    )
    assert distributions.expected_keypoints().tolist() == [[[30, 8], [0, 10]]]


def test_bins_lie_evenly_over_the_enlarged_box_ends_included():
    x, y = build_classifier().bin_positions(torch.tensor([[10.0, 20, 50, 60]]))
    assert x.shape == (1, 24)
    assert y.shape == (1, 32)
    assert_close(x[0, [0, -1]], torch.tensor([5.0, 55.0]))
    assert_close(y[0, [0, -1]], torch.tensor([15.0, 65.0]))
    assert_close(x.diff(), torch.full((1, 23), 50 / 23))


def test_bins_shift_and_grow_with_the_box():
    dcc, boxes = build_classifier(), torch.tensor([[10.0, 20, 50, 60]])
    x, y = dcc.bin_positions(boxes)
    shifted = dcc.bin_positions(boxes + torch.tensor([3.0, -2, 3, -2]))
    assert_close(shifted[0], x + 3)
    assert_close(shifted[1], y - 2)
    assert_close(dcc.bin_positions(2 * boxes)[0], 2 * x)


def test_keypoints_shift_with_the_box_and_the_grid_point():
    dcc, (vectors, boxes, points) = build_classifier(), random_instances()
    before = dcc(vectors, boxes, points).expected_keypoints()
    after = dcc(vectors, boxes + 11, points + 11).expected_keypoints()
    assert_close(after, before + 11, atol=1e-3, rtol=0)


def test_distributions_have_a_sum_of_1_and_the_keypoints_lie_in_the_enlarged_box():
    vectors, boxes, points = random_instances()
    distributions = build_classifier()(vectors, boxes, points)
    assert_close(distributions.x_probs.sum(-1), torch.ones(4, 3))
    assert_close(distributions.y_probs.sum(-1), torch.ones(4, 3))
    keypoints, margin = distributions.expected_keypoints(), (boxes[:, 2:] - boxes[:, :2])[:, None] * 0.125
    assert (keypoints >= boxes[:, None, :2] - margin).all()
    assert (keypoints <= boxes[:, None, 2:] + margin).all()


def test_the_relative_sigmas_are_within_a_tenth_at_first():
    relative_sigmas = build_classifier()(*random_instances()).relative_sigmas
    assert relative_sigmas.shape == (4, 3)
    assert (relative_sigmas > 0).all()
    assert (relative_sigmas < 0.1).all()


def test_static_bins_lie_over_the_input_and_ignore_boxes():
    dcc, (vectors, boxes, points) = build_classifier(dynamic=False), random_instances()
    x, _ = dcc.bin_positions(boxes)
    assert_close(x[:, [0, -1]], torch.tensor([[0.0, 95.0]]).expand(4, 2))
    other = dcc(vectors, boxes + 9, points - 5)
    assert_close(dcc(vectors, boxes, points).expected_keypoints(), other.expected_keypoints())


def test_bins_may_be_encoded_by_their_own_coordinates():
    """The paper's text: the encoding of x_i itself, which the grid point does not change."""
    dcc, (vectors, boxes, points) = build_classifier(encoded_position='coordinate'), random_instances()
    tokens = dcc.attention(dcc.to_tokens(vectors).unflatten(1, (3, -1)), dcc.code)
    distributions = dcc(vectors, boxes, points)
    for axis, layer, probs in ((0, dcc.x_code, distributions.x_probs), (1, dcc.y_code, distributions.y_probs)):
        codes = layer(sine_encoding(dcc.bin_positions(boxes)[axis], dcc.periods))
        assert_close(probs, (tokens @ codes.mT).softmax(dim=-1), atol=2e-6, rtol=0)
    assert_close(dcc(vectors, boxes, points + 7).x_probs, distributions.x_probs)
    assert not torch.allclose(build_classifier()(vectors, boxes, points).x_probs, distributions.x_probs, atol=1e-4)
    with pytest.raises(ConfigError, match="DCC: encoded_position is 'offset' or 'coordinate'; got 'bin'"):
        build_classifier(encoded_position='bin')


def test_no_instances_have_no_keypoints():
    vectors, boxes, points = random_instances(0)
    assert build_classifier()(vectors, boxes, points).expected_keypoints().shape == (0, 3, 2)


@pytest.mark.parametrize('settings', [dict(padding=0.0), dict(num_bins=(1, 8))])
def test_an_invalid_setting_is_refused(settings):
    with pytest.raises(ConfigError, match='padding is positive, and num_bins at least 2 per axis; got'):
        DCC(3, 16, (96, 64), **settings)


def test_at_first_keypoints_hardly_attend_to_each_other():
    dcc = build_classifier()
    tokens = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(2))
    assert (dcc.attention(tokens, dcc.code) - tokens).abs().max() < 0.2


@pytest.mark.parametrize('dynamic', [True, False])
def test_probabilities_are_those_of_tokens_times_encodings(dynamic):
    """The encodings are multiplied in another order, which changes nothing but the time."""
    dcc, (_, boxes, points) = build_classifier(dynamic=dynamic), random_instances()
    tokens, (x, _) = torch.randn(4, 3, 32), dcc.bin_positions(boxes)
    offsets = x - points[:, :1]
    codes = sine_encoding(offsets, dcc.periods) if dynamic else dcc.learnt[0].expand(4, -1, -1)
    expected = (tokens @ dcc.x_code(codes).mT).softmax(dim=-1)
    probs = dcc.classify_bins(tokens, offsets, 0)
    assert_close(probs, expected, atol=2e-6, rtol=0)
    probs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in dcc.x_code.parameters())
