import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.simcc import SimCC
from poseplug.errors import ConfigError
from poseplug.skeleton import Skeleton

PAIR = Skeleton('pair', ('left', 'right', 'head'), swaps=(('left', 'right'),))
ONE = Skeleton('one', ('head',))
SIZE = (48, 64)
WIDTH, HEIGHT = SIZE


def encoded(codec: SimCC, *points, visible: float = 2) -> dict[str, torch.Tensor]:
    """The fields of one picture with a person whose joints are all at the same points, one a picture."""
    joints = torch.tensor(points, dtype=torch.float32)[:, None, None].expand(-1, 1, len(codec.skeleton), 2)
    return codec.encode(joints, torch.full(joints.shape[:3], float(visible))).at(0)


def weights(codec: SimCC, *points) -> list[float]:
    joints = torch.tensor(points, dtype=torch.float32)[:, None, None].expand(-1, 1, len(codec.skeleton), 2)
    return codec.encode(joints, torch.full(joints.shape[:3], 2.0)).weights['x'][:, 0].tolist()


def test_there_are_as_many_bins_as_pixels_times_the_split():
    assert SimCC(ONE, SIZE, split=3).shapes == {'x': (1, 144), 'y': (1, 192)}


def test_a_gaussian_of_sum_one_is_about_the_nearest_bin():
    """Pixel 10.2 is bin 20.4, so that the middle is bin 20; a bin beside it is exp(-1/8) of it with a spread of 2."""
    line = encoded(SimCC(ONE, SIZE, sigma=2.0), (10.2, 30.0))['x'][0, 0]
    assert line.argmax().item() == 20
    assert line[20].item() == pytest.approx(1 / (2 * math.sqrt(2 * math.pi)))
    assert line[21].item() / line[20].item() == pytest.approx(math.exp(-1 / 8))
    assert line[19].item() == line[21].item()
    assert line.sum().item() == pytest.approx(1, abs=1e-6)


def test_without_normalising_its_peak_is_one_and_each_axis_may_have_its_own_spread():
    fields = encoded(SimCC(ONE, SIZE, sigma=(2.0, 4.0), normalize=False), (10.0, 30.0))
    assert fields['x'][0, 0, 20].item() == 1
    assert fields['x'][0, 0, 22].item() == pytest.approx(math.exp(-1 / 2))
    assert fields['y'][0, 0, 64].item() == pytest.approx(math.exp(-1 / 2))


def test_an_exact_centre_lies_between_the_bins():
    line = encoded(SimCC(ONE, SIZE, sigma=2.0, center='exact', normalize=False), (10.25, 30.0))['x'][0, 0]
    assert line[20].item() == pytest.approx(math.exp(-(0.5**2) / 8))
    assert line[20].item() == line[21].item()


def test_smoothed_labels_give_the_other_bins_an_equal_share():
    line = encoded(SimCC(ONE, SIZE, target='one_hot', label_smoothing=0.1), (10.0, 30.0))['x'][0, 0]
    assert line[20].item() == pytest.approx(0.9)
    assert line[0].item() == pytest.approx(0.1 / 95)
    assert line.sum().item() == pytest.approx(1)


@pytest.mark.parametrize('split', [1, 2, 3])
@pytest.mark.parametrize('target', ['gaussian', 'one_hot'])
def test_what_comes_back_is_half_a_bin_away_at_most_up_to_the_border(split, target):
    codec = SimCC(ONE, SIZE, split=split, sigma=3.0, target=target)
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([47.0, 63.0])
    points = torch.cat([places, torch.tensor([[0.0, 0.0], [47.0, 63.0]])])
    found = codec.decode(encoded(codec, *points.tolist())).keypoints[:, 0]
    assert (found - points).abs().max().item() <= 0.5 / split + 1e-4


def test_dark_reads_an_exact_centre_to_a_twentieth_of_a_pixel_and_the_largest_bin_alone_to_a_quarter():
    points = [[x / 7, 20 + x / 9] for x in range(100, 200)]
    error = {}
    for refine in ('none', 'dark'):
        codec = SimCC(ONE, SIZE, sigma=4.9, center='exact', normalize=False, refine=refine)
        found = codec.decode(encoded(codec, *points)).keypoints[:, 0]
        error[refine] = (found - torch.tensor(points)).abs().max().item()
    assert error['dark'] < 0.05
    assert 0.2 < error['none'] <= 0.2501


def test_a_joint_counts_up_to_three_sigma_outside():
    """With a spread of 4 bins, 3 sigma are 6 px; before the first pixel one bin more is allowed, as published."""
    codec = SimCC(ONE, SIZE, sigma=4.0)
    assert weights(codec, (-6.0, 30), (-6.5, 30), (-7.0, 30), (53.5, 30), (54.0, 30)) == [1, 1, 0, 1, 0]
    one_hot = SimCC(ONE, SIZE, target='one_hot')
    assert weights(one_hot, (0.0, 0.0), (-1.0, 0.0), (47.5, 63.5), (48.0, 0.0)) == [1, 0, 1, 0]


def test_a_joint_that_is_far_outside_in_y_is_drawn_on_neither_axis():
    fields = encoded(SimCC(ONE, SIZE), (20.0, 400.0))
    assert not fields['x'].any()
    assert not fields['y'].any()


def test_nobody_and_unlabelled_joints_have_empty_lines_that_do_not_count():
    codec = SimCC(ONE, SIZE)
    nobody = codec.encode(torch.zeros(2, 0, 1, 2), torch.zeros(2, 0, 1))
    assert nobody.at(0)['x'].shape == (2, 1, 96)
    lost = torch.full((1, 1, 1, 2), torch.nan)
    for targets in (nobody, codec.encode(lost, torch.full((1, 1, 1), 2.0))):
        assert not targets.at(0)['x'].any()
        assert not targets.weights['y'].any()


@pytest.mark.parametrize('split', [1, 2, 4])
def test_a_mirrored_line_falls_on_the_unmirrored_one_and_left_and_right_are_exchanged(split):
    codec = SimCC(PAIR, SIZE, split=split, sigma=2.0)
    joints = torch.tensor([[[[10.0, 20], [30, 25], [17, 40]]]])
    mirrored = joints[:, :, [1, 0, 2]] * torch.tensor([-1.0, 1]) + torch.tensor([WIDTH - 1.0, 0])
    fields, others = (codec.encode(j, torch.full((1, 1, 3), 2)).at(0) for j in (joints, mirrored))
    for name, line in codec.flip(others).items():
        assert_close(line, fields[name])


def test_logits_are_read_through_a_softmax_and_a_perfect_one_scores_one():
    """The logarithm of a distribution is its logit."""
    plain, logits = (SimCC(ONE, SIZE, logits=on) for on in (False, True))
    wanted = encoded(plain, (20.0, 30.0))
    poses = logits.decode({name: line.clamp(min=1e-30).log() for name, line in wanted.items()})
    assert poses.keypoints[0, 0].tolist() == [20, 30]
    assert poses.scores[0, 0].item() == pytest.approx(1, abs=1e-4)
    flat = logits.decode({name: 0 * line for name, line in wanted.items()})
    assert flat.scores[0, 0].item() == pytest.approx(6 * math.sqrt(2 * math.pi) / 128, rel=1e-3)


def test_scores_stay_between_0_and_1_where_lines_do_not():
    lines = {'x': torch.full((2, 1, 96), 3.0), 'y': torch.tensor([2.0, -1.0])[:, None, None].expand(2, 1, 128)}
    assert SimCC(ONE, SIZE).decode(lines).scores[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize('refine', ['none', 'dark'])
def test_empty_and_constant_lines_have_finite_places(refine):
    for value in (0.0, -0.5, 1.0):
        lines = {'x': torch.full((1, 1, 96), value), 'y': torch.full((1, 1, 128), value)}
        poses = SimCC(ONE, SIZE, refine=refine).decode(lines)
        assert torch.isfinite(poses.keypoints).all()


def test_half_precision_lines_are_read_as_their_full_precision_copies():
    lines = {name: line.bfloat16() for name, line in encoded(SimCC(ONE, SIZE, refine='dark'), (20.0, 30.0)).items()}
    codec = SimCC(ONE, SIZE, refine='dark')
    here, full = (codec.decode({n: f(v) for n, v in lines.items()}) for f in (torch.clone, torch.Tensor.float))
    assert_close(here.keypoints.float(), full.keypoints, atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(split=0), 'whole number of bins a pixel, at least 1; got 0'),
        (dict(split=1.5), 'whole number of bins a pixel'),
        (dict(sigma=0), 'sigma is positive'),
        (dict(sigma=(1, 2, 3)), r'one number or one for x and one for y; got \(1, 2, 3\)'),
        (dict(target='box'), r"target is one of \('gaussian', 'one_hot'\); got 'box'"),
        (dict(refine='quarter'), 'refine is one of'),
        (dict(target='one_hot', label_smoothing=1), 'from 0 to below 1; got 1'),
        (dict(label_smoothing=0.1), "leave it out, or set target='one_hot'"),
    ],
)
def test_settings_that_mean_nothing_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SimCC(ONE, SIZE, **settings)
