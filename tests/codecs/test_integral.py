import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.integral import Integral, unit_sum_gaussian_peak
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.models.heads.integral import soft_argmax

PAIR = Skeleton('pair', ('left', 'right', 'head'), flip_pairs=(('left', 'right'),))
SIZE = (64, 96)


def encode(codec, *keypoints):
    return codec.encode(torch.tensor([[keypoints]], dtype=torch.float32), torch.full((1, 1, 3), 2))


def test_distributions_have_a_sum_of_one_and_a_keypoint_outside_has_none():
    targets = encode(Integral(PAIR, SIZE), (20.0, 30.0), (0.0, 0.0), (-1.0, 4.0))
    assert_close(targets.stage_fields(0)['heatmap'].sum(dim=(2, 3)), torch.tensor([[1.0, 1, 0]]))
    for weight in targets.weights.values():
        assert weight.tolist() == [[1, 1, 0]]


def test_the_expectation_of_a_target_is_its_keypoint():
    """Inside, where nothing of the Gaussian is cut off: the head's read-out and the codec's grid are one rule."""
    codec = Integral(PAIR, SIZE, sigma_px=4.0)
    targets = encode(codec, (20.3, 30.7), (32.0, 48.0), (41.9, 70.2)).stage_fields(0)
    assert_close(soft_argmax(targets['heatmap'], SIZE), targets['keypoints'], atol=2e-4, rtol=0)


def test_a_keypoint_in_a_cell_scores_one_and_a_distribution_twice_as_wide_a_quarter():
    codec, wide = Integral(PAIR, SIZE, sigma_px=4.0), Integral(PAIR, SIZE, sigma_px=8.0)
    middle = codec.grid.to_pixels(torch.tensor([8.0, 12.0])).tolist()
    fields = encode(codec, middle, middle, middle).stage_fields(0)
    assert_close(codec.decode(fields).keypoint_scores, torch.ones(1, 3))
    wider = encode(wide, middle, middle, middle).stage_fields(0)
    assert_close(codec.decode(wider).keypoint_scores, torch.full((1, 3), 0.25), atol=2e-3, rtol=0)


def test_the_peak_of_a_gaussian_of_sum_one_is_that_of_the_density_once_it_is_wide():
    assert unit_sum_gaussian_peak(2.0) == pytest.approx(1 / (2 * math.sqrt(2 * math.pi)), rel=1e-6)
    assert unit_sum_gaussian_peak(0.1) == pytest.approx(1)


def test_points_are_decoded_and_heatmaps_are_not():
    codec = Integral(PAIR, SIZE)
    fields = encode(codec, (20.0, 30.0), (10.0, 11.0), (12.0, 13.0)).stage_fields(0)
    keypoints = codec.decode({**fields, 'heatmap': fields['heatmap'].flip(-1)}).keypoints[0]
    assert_close(keypoints, torch.tensor([[20.0, 30], [10, 11], [12, 13]]))


def test_a_flip_keeps_points_and_distributions_together():
    codec = Integral(PAIR, SIZE)
    fields = encode(codec, (20.0, 30.0), (40.0, 50.0), (32.0, 60.0)).stage_fields(0)
    flipped = encode(codec, (63 - 40.0, 50.0), (63 - 20.0, 30.0), (63 - 32.0, 60.0)).stage_fields(0)
    for name, field in codec.flip(fields).items():
        assert_close(field, flipped[name], atol=1e-5, rtol=0)


def test_an_input_of_one_cell_or_a_sigma_of_0_is_an_error():
    with pytest.raises(ConfigError, match='at least 2 cells'):
        Integral(PAIR, (4, 4))
    with pytest.raises(ConfigError, match='sigma_px is a number above 0 and up to .*; got 0'):
        Integral(PAIR, SIZE, sigma_px=0)
