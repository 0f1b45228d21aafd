import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.integral import Integral, peak_of_sum_1
from poseplug.errors import ConfigError
from poseplug.models.heads.integral import expected
from poseplug.skeleton import Skeleton

PAIR = Skeleton('pair', ('left', 'right', 'head'), swaps=(('left', 'right'),))
SIZE = (64, 96)


def encode(codec, *joints):
    return codec.encode(torch.tensor([[joints]], dtype=torch.float32), torch.full((1, 1, 3), 2))


def test_distributions_have_a_sum_of_one_and_a_joint_outside_has_none():
    targets = encode(Integral(PAIR, SIZE), (20.0, 30.0), (0.0, 0.0), (-1.0, 4.0))
    assert_close(targets.at(0)['heatmap'].sum(dim=(2, 3)), torch.tensor([[1.0, 1, 0]]))
    for weight in targets.weights.values():
        assert weight.tolist() == [[1, 1, 0]]


def test_the_expectation_of_a_target_is_its_joint():
    """Inside, where nothing of the Gaussian is cut off: the head's read-out and the codec's grid are one rule."""
    codec = Integral(PAIR, SIZE, sigma=4.0)
    targets = encode(codec, (20.3, 30.7), (32.0, 48.0), (41.9, 70.2)).at(0)
    assert_close(expected(targets['heatmap'], SIZE), targets['keypoints'], atol=2e-4, rtol=0)


def test_a_joint_in_a_cell_scores_one_and_a_distribution_twice_as_wide_a_quarter():
    codec, wide = Integral(PAIR, SIZE, sigma=4.0), Integral(PAIR, SIZE, sigma=8.0)
    middle = codec.grid.pixels(torch.tensor([8.0, 12.0])).tolist()
    fields = encode(codec, middle, middle, middle).at(0)
    assert_close(codec.decode(fields).scores, torch.ones(1, 3))
    wider = encode(wide, middle, middle, middle).at(0)
    assert_close(codec.decode(wider).scores, torch.full((1, 3), 0.25), atol=2e-3, rtol=0)


def test_the_peak_of_a_sum_of_one_is_that_of_the_density_once_it_is_wide():
    assert peak_of_sum_1(2.0) == pytest.approx(1 / (2 * math.sqrt(2 * math.pi)), rel=1e-6)
    assert peak_of_sum_1(0.1) == pytest.approx(1)


def test_points_are_read_and_maps_are_not():
    codec = Integral(PAIR, SIZE)
    fields = encode(codec, (20.0, 30.0), (10.0, 11.0), (12.0, 13.0)).at(0)
    found = codec.decode({**fields, 'heatmap': fields['heatmap'].flip(-1)}).keypoints[0]
    assert_close(found, torch.tensor([[20.0, 30], [10, 11], [12, 13]]))


def test_a_mirror_keeps_points_and_distributions_together():
    codec = Integral(PAIR, SIZE)
    fields = encode(codec, (20.0, 30.0), (40.0, 50.0), (32.0, 60.0)).at(0)
    mirrored = encode(codec, (63 - 40.0, 50.0), (63 - 20.0, 30.0), (63 - 32.0, 60.0)).at(0)
    for name, field in codec.flip(fields).items():
        assert_close(field, mirrored[name], atol=1e-5, rtol=0)


def test_an_input_of_one_cell_or_no_spread_is_an_error():
    with pytest.raises(ConfigError, match='at least 2 cells'):
        Integral(PAIR, (4, 4))
    with pytest.raises(ConfigError, match=r'positive; got 0, 4'):
        Integral(PAIR, SIZE, sigma=0)
