import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.simcc import SimCC
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton

PAIR = Skeleton('pair', ('left', 'right', 'head'), flip_pairs=(('left', 'right'),))
ONE = Skeleton('one', ('head',))
SIZE = (48, 64)
WIDTH, HEIGHT = SIZE


def encode(codec: SimCC, *points, visible: float = 2) -> dict[str, torch.Tensor]:
    """The fields of images of one instance each, whose keypoints are all at one point."""
    keypoints = torch.tensor(points, dtype=torch.float32)[:, None, None].expand(-1, 1, len(codec.skeleton), 2)
    return codec.encode(keypoints, torch.full(keypoints.shape[:3], float(visible))).stage_fields(0)


def encode_weights(codec: SimCC, *points) -> list[float]:
    """The weight of the first keypoint in each of those images."""
    keypoints = torch.tensor(points, dtype=torch.float32)[:, None, None].expand(-1, 1, len(codec.skeleton), 2)
    return codec.encode(keypoints, torch.full(keypoints.shape[:3], 2.0)).weights['x'][:, 0].tolist()


def test_there_are_as_many_bins_as_pixels_times_the_split():
    assert SimCC(ONE, SIZE, simcc_split_ratio=3).shapes == {'x': (1, 144), 'y': (1, 192)}


def test_a_gaussian_of_sum_one_is_about_the_nearest_bin():
    """Pixel 10.2 is bin 20.4, so that the middle is bin 20; a bin beside it is exp(-1/8) of it with a sigma of 2."""
    line = encode(SimCC(ONE, SIZE, sigma=2.0), (10.2, 30.0))['x'][0, 0]
    assert line.argmax().item() == 20
    assert line[20].item() == pytest.approx(1 / (2 * math.sqrt(2 * math.pi)))
    assert line[21].item() / line[20].item() == pytest.approx(math.exp(-1 / 8))
    assert line[19].item() == line[21].item()
    assert line.sum().item() == pytest.approx(1, abs=1e-6)


def test_without_normalizing_its_peak_is_one_and_the_axes_may_have_two_sigmas():
    fields = encode(SimCC(ONE, SIZE, sigma=(2.0, 4.0), normalize=False), (10.0, 30.0))
    assert fields['x'][0, 0, 20].item() == 1
    assert fields['x'][0, 0, 22].item() == pytest.approx(math.exp(-1 / 2))
    assert fields['y'][0, 0, 64].item() == pytest.approx(math.exp(-1 / 2))


def test_an_exact_center_lies_between_the_bins():
    line = encode(SimCC(ONE, SIZE, sigma=2.0, center='exact', normalize=False), (10.25, 30.0))['x'][0, 0]
    assert line[20].item() == pytest.approx(math.exp(-(0.5**2) / 8))
    assert line[20].item() == line[21].item()


def test_smoothed_labels_give_the_other_bins_equal_fractions():
    line = encode(SimCC(ONE, SIZE, smoothing_type='standard', label_smooth_weight=0.1), (10.0, 30.0))['x'][0, 0]
    assert line[20].item() == pytest.approx(0.9)
    assert line[0].item() == pytest.approx(0.1 / 95)
    assert line.sum().item() == pytest.approx(1)


@pytest.mark.parametrize('split', [1, 2, 3])
@pytest.mark.parametrize('smoothing_type', ['gaussian', 'standard'])
def test_decode_undoes_encode_to_half_a_bin_up_to_the_border(split, smoothing_type):
    codec = SimCC(ONE, SIZE, simcc_split_ratio=split, sigma=3.0, smoothing_type=smoothing_type)
    inner = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([47.0, 63.0])
    points = torch.cat([inner, torch.tensor([[0.0, 0.0], [47.0, 63.0]])])
    decoded = codec.decode(encode(codec, *points.tolist())).keypoints[:, 0]
    assert (decoded - points).abs().max().item() <= 0.5 / split + 1e-4


def test_dark_decodes_an_exact_center_to_a_twentieth_of_a_pixel_and_the_largest_bin_alone_to_a_quarter():
    points = [[x / 7, 20 + x / 9] for x in range(100, 200)]
    error = {}
    for refine in ('none', 'dark'):
        codec = SimCC(ONE, SIZE, sigma=4.9, center='exact', normalize=False, refine=refine)
        decoded = codec.decode(encode(codec, *points)).keypoints[:, 0]
        error[refine] = (decoded - torch.tensor(points)).abs().max().item()
    assert error['dark'] < 0.05
    assert 0.2 < error['none'] <= 0.2501


def test_a_keypoint_counts_up_to_three_sigma_outside():
    """With a sigma of 4 bins, 3 sigma are 6 px; before the first pixel one bin more is allowed, as published."""
    codec = SimCC(ONE, SIZE, sigma=4.0)
    assert encode_weights(codec, (-6.0, 30), (-6.5, 30), (-7.0, 30), (53.5, 30), (54.0, 30)) == [1, 1, 0, 1, 0]
    standard = SimCC(ONE, SIZE, smoothing_type='standard')
    assert encode_weights(standard, (0.0, 0.0), (-1.0, 0.0), (47.5, 63.5), (48.0, 0.0)) == [1, 0, 1, 0]


def test_a_keypoint_far_outside_in_y_is_drawn_on_neither_axis():
    fields = encode(SimCC(ONE, SIZE), (20.0, 400.0))
    assert not fields['x'].any()
    assert not fields['y'].any()


def test_no_instance_and_keypoints_without_position_have_empty_lines_that_do_not_count():
    codec = SimCC(ONE, SIZE)
    empty = codec.encode(torch.zeros(2, 0, 1, 2), torch.zeros(2, 0, 1))
    assert empty.stage_fields(0)['x'].shape == (2, 1, 96)
    undefined = torch.full((1, 1, 1, 2), torch.nan)
    for targets in (empty, codec.encode(undefined, torch.full((1, 1, 1), 2.0))):
        assert not targets.stage_fields(0)['x'].any()
        assert not targets.weights['y'].any()


@pytest.mark.parametrize('split', [1, 2, 4])
def test_a_flipped_line_falls_on_the_unflipped_one_and_left_and_right_are_exchanged(split):
    codec = SimCC(PAIR, SIZE, simcc_split_ratio=split, sigma=2.0)
    keypoints = torch.tensor([[[[10.0, 20], [30, 25], [17, 40]]]])
    flipped = keypoints[:, :, [1, 0, 2]] * torch.tensor([-1.0, 1]) + torch.tensor([WIDTH - 1.0, 0])
    fields, others = (codec.encode(k, torch.full((1, 1, 3), 2)).stage_fields(0) for k in (keypoints, flipped))
    for name, line in codec.flip(others).items():
        assert_close(line, fields[name])


def test_logits_are_decoded_through_a_softmax_and_a_perfect_one_scores_one():
    """The logarithm of a distribution is its logit."""
    plain, logits = (SimCC(ONE, SIZE, from_logits=from_logits) for from_logits in (False, True))
    expected = encode(plain, (20.0, 30.0))
    poses = logits.decode({name: line.clamp(min=1e-30).log() for name, line in expected.items()})
    assert poses.keypoints[0, 0].tolist() == [20, 30]
    assert poses.keypoint_scores[0, 0].item() == pytest.approx(1, abs=1e-4)
    flat = logits.decode({name: 0 * line for name, line in expected.items()})
    assert flat.keypoint_scores[0, 0].item() == pytest.approx(6 * math.sqrt(2 * math.pi) / 128, rel=1e-3)


def test_scores_stay_between_0_and_1_where_lines_do_not():
    lines = {'x': torch.full((2, 1, 96), 3.0), 'y': torch.tensor([2.0, -1.0])[:, None, None].expand(2, 1, 128)}
    assert SimCC(ONE, SIZE).decode(lines).keypoint_scores[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize('refine', ['none', 'dark'])
def test_empty_and_constant_lines_have_finite_positions(refine):
    for value in (0.0, -0.5, 1.0):
        lines = {'x': torch.full((1, 1, 96), value), 'y': torch.full((1, 1, 128), value)}
        poses = SimCC(ONE, SIZE, refine=refine).decode(lines)
        assert torch.isfinite(poses.keypoints).all()


def test_half_precision_lines_are_decoded_as_their_full_precision_copies():
    lines = {name: line.bfloat16() for name, line in encode(SimCC(ONE, SIZE, refine='dark'), (20.0, 30.0)).items()}
    codec = SimCC(ONE, SIZE, refine='dark')
    half, full = (codec.decode({n: f(v) for n, v in lines.items()}) for f in (torch.clone, torch.Tensor.float))
    assert_close(half.keypoints.float(), full.keypoints, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(simcc_split_ratio=0), 'simcc_split_ratio is a whole number from 1 on; got 0'),
        (dict(simcc_split_ratio=1.5), 'simcc_split_ratio is a whole number'),
        (dict(sigma=0), 'sigma is a number above 0'),
        (dict(sigma=(1, 2, 3)), r'one number or one for x and one for y; got \(1, 2, 3\)'),
        (dict(smoothing_type='box'), r"smoothing_type is one of \('gaussian', 'standard'\); got 'box'"),
        (dict(refine='quarter'), 'refine is one of'),
        (dict(smoothing_type='standard', label_smooth_weight=1), 'from 0 to below 1; got 1'),
        (dict(label_smooth_weight=0.1), "leave it out, or set smoothing_type='standard'"),
    ],
)
def test_settings_without_meaning_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SimCC(ONE, SIZE, **settings)
