"""What `match` changes: the crop, the read-out and the scores of MMPose and of the authors' own code."""

import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.cpm import CPMHeatmap
from poseplug.codecs.dark import DARKHeatmap
from poseplug.codecs.dekr import CenterDisplacement
from poseplug.codecs.dense_instances import DenseInstances
from poseplug.codecs.integral import Integral
from poseplug.codecs.msra import MSRAHeatmap
from poseplug.codecs.regression import Regression
from poseplug.codecs.simcc import SimCC
from poseplug.codecs.tags import Tags
from poseplug.codecs.udp import UDPCombined, UDPHeatmap
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.models.heads.integral import correct_positions, soft_argmax

ONE, SIZE = Skeleton('one', ('nose',)), (192, 256)
RIGHT_BELOW = 0.25  # every peak of `peak_map` has its higher neighbors to the right and below


def peak_map(x: int, y: int) -> torch.Tensor:
    """A heatmap (1, 1, 64, 48) with its peak in one cell, which falls off more slowly to the right and downwards."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing='ij')
    slope_x, slope_y = (torch.where(d > 0, d, -1.5 * d) for d in (columns - x, rows - y))
    return (1 - 0.005 * (slope_x + slope_y))[None, None]


def decode_cell(codec, heatmap: torch.Tensor) -> list[float]:
    """The keypoint of a heatmap in cells of 4 px."""
    return (codec.decode({'heatmap': heatmap}).keypoints[0, 0] / 4).tolist()


@pytest.mark.parametrize(
    ('cell', 'ours', 'mmpose', 'official'),
    [
        ((20, 30), (1, 1), (1, 1), (1, 1)),
        ((2, 2), (1, 1), (1, 1), (1, 1)),
        ((46, 62), (1, 1), (1, 1), (1, 1)),
        ((1, 30), (1, 1), (0, 1), (0, 0)),
        ((20, 1), (1, 1), (1, 0), (0, 0)),
        ((0, 30), (0, 1), (0, 0), (0, 0)),
        ((20, 0), (1, 0), (0, 0), (0, 0)),
        ((47, 30), (0, 1), (0, 1), (0, 0)),
        ((20, 63), (1, 0), (1, 0), (0, 0)),
    ],
)
def test_a_quarter_step_near_the_border_is_made_by_three_rules(cell, ours, mmpose, official):
    for match, steps in (('poseplug', ours), ('mmpose', mmpose), ('official', official)):
        decoded = decode_cell(MSRAHeatmap(ONE, SIZE, match=match), peak_map(*cell))
        assert decoded == [c + RIGHT_BELOW * s for c, s in zip(cell, steps, strict=True)], match


@pytest.mark.parametrize(
    ('match', 'high', 'low'), [('poseplug', 1.0, 0.0), ('mmpose', 1.75, -0.5), ('official', 1.75, -0.5)]
)
@pytest.mark.parametrize('codec_class', [MSRAHeatmap, UDPHeatmap])
def test_released_scores_are_the_values_of_the_peaks(codec_class, match, high, low):
    maps = torch.full((1, 2, 64, 48), -0.5)
    maps[0, 0, 20, 30] = 1.75
    poses = codec_class(Skeleton('two', ('a', 'b')), SIZE, match=match).decode({'heatmap': maps})
    assert poses.keypoint_scores.tolist() == [[high, low]]


@pytest.mark.parametrize('value', [0.0, -0.5])
@pytest.mark.parametrize('codec_class', [MSRAHeatmap, DARKHeatmap, UDPHeatmap])
def test_a_keypoint_without_a_positive_cell_is_in_cell_minus_one_of_mmpose_and_cell_0_of_hrnet(codec_class, value):
    for match, cell in (('mmpose', -1.0), ('official', 0.0)):
        codec = codec_class(ONE, SIZE, match=match, aligned=match == 'official' and codec_class is not MSRAHeatmap)
        assert decode_cell(codec, torch.full((1, 1, 64, 48), value)) == [cell, cell]


def draw_noisy_maps(count: int) -> torch.Tensor:
    """Gaussians of 2 cells (count, 1, 64, 48) with noise, some of them at the border."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:64, :48]
    x, y = rng.uniform(-1, 48, (count, 1, 1)), rng.uniform(-1, 64, (count, 1, 1))
    maps = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) + 0.01 * rng.standard_normal((count, 64, 48))
    return torch.from_numpy(maps[:, None].astype(np.float32))


def test_the_official_udp_reflects_and_stretches_the_smoothed_map():
    """Against the formula, step by step: OpenCV's default border, 7 cells, and the map from 0 to its own peak."""
    maps = draw_noisy_maps(40)
    codec = UDPHeatmap(ONE, SIZE, match='official')
    decoded = codec.grid.to_cells(codec.decode({'heatmap': maps}).keypoints)[:, 0].numpy()
    for heatmap, actual in zip(maps[:, 0].numpy().astype(np.float64), decoded, strict=True):
        smooth = cv2.GaussianBlur(heatmap, (7, 7), 0)
        smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min()) * heatmap.max()
        f = np.pad(np.log(smooth.clip(1e-3, 50)), 1, mode='edge')
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        near = f[y : y + 3, x : x + 3]
        gradient = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
        hxx, hyy = near[1, 2] - 2 * near[1, 1] + near[1, 0], near[2, 1] - 2 * near[1, 1] + near[0, 1]
        hxy = (near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]) / 2
        step = np.linalg.solve([[hxx, hxy], [hxy, hyy]], gradient)
        np.testing.assert_allclose(actual, [x, y] - step, atol=1e-4 * max(1, (step**2).max()))


def test_the_official_combined_read_out_blurs_the_offsets_too():
    maps = draw_noisy_maps(60).view(20, 3, 64, 48)
    codec = UDPCombined(ONE, SIZE, match='official')
    decoded = codec.grid.to_cells(codec.decode({'heatmap': maps[:, :1], 'offset': maps[:, 1:]}).keypoints)[:, 0].numpy()
    for (disk, *offsets), actual in zip(maps.numpy(), decoded, strict=True):
        smooth = cv2.GaussianBlur(disk, (15, 15), 0)
        y, x = np.unravel_index(smooth.argmax(), smooth.shape)
        step = [3.5 * cv2.GaussianBlur(offset, (7, 7), 0)[y, x] for offset in offsets]
        np.testing.assert_allclose(actual, [x + step[0], y + step[1]], atol=1e-4)


@pytest.mark.parametrize(
    ('cell', 'ours', 'official'), [(-6.9, 1, 1), (-7.5, 0, 1), (-7.99, 0, 1), (-8.0, 0, 0), (53.9, 1, 1)]
)
def test_darkpose_counts_keypoints_up_to_eight_cells_before_the_first(cell, ours, official):
    for match, weight in (('poseplug', ours), ('official', official)):
        codec = DARKHeatmap(ONE, SIZE, aligned=True, match=match)
        keypoints = codec.grid.to_pixels(torch.tensor([[[[cell, 30.0]]]], dtype=torch.float64))
        assert codec.encode(keypoints, torch.ones(1, 1, 1)).weights['heatmap'].item() == weight


@pytest.mark.parametrize(
    ('codec', 'rule'),
    [
        (MSRAHeatmap(ONE, SIZE), 'pixels'),
        (MSRAHeatmap(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (MSRAHeatmap(ONE, SIZE, match='official'), 'released_hrnet'),
        (DARKHeatmap(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (DARKHeatmap(ONE, SIZE, aligned=True), 'corners'),
        (DARKHeatmap(ONE, SIZE, aligned=True, match='official'), 'released_dark'),
        (UDPHeatmap(ONE, SIZE), 'corners'),
        (UDPHeatmap(ONE, SIZE, match='mmpose'), 'released_udp'),
        (UDPCombined(ONE, SIZE), 'corners'),
        (UDPCombined(ONE, SIZE, match='official'), 'released_udp'),
        (SimCC(ONE, SIZE), 'pixels'),
        (SimCC(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (Regression(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (DenseInstances(ONE, SIZE), 'pixels'),
        (DenseInstances(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (Tags(ONE, SIZE), 'pixels'),
        (Tags(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (CenterDisplacement(ONE, SIZE, match='mmpose'), 'released_hrnet'),
        (Integral(ONE, SIZE), 'pixels'),
        (Integral(ONE, SIZE, match='mmpose'), 'released_hrnet'),
    ],
)
def test_the_crop_of_a_codec_is_that_of_the_code_it_matches(codec, rule):
    assert codec.crop_rule == rule


def test_bins_of_mmpose_keep_their_scores_and_flip_as_they_are():
    codec = SimCC(ONE, (4, 4), match='mmpose')
    x, y = torch.zeros(1, 1, 8), torch.full((1, 1, 8), -0.5)
    x[0, 0, 6] = 1.5
    empty = codec.decode({'x': x, 'y': y})
    assert (empty.keypoints[0, 0].tolist(), empty.keypoint_scores.item()) == ([-0.5, -0.5], -0.5)
    y[0, 0, 3] = 1.25
    poses = codec.decode({'x': x, 'y': y})
    assert (poses.keypoints[0, 0].tolist(), poses.keypoint_scores.item()) == ([3.0, 1.5], 1.25)
    assert codec.flip({'x': x, 'y': y})['x'][0, 0].tolist() == x[0, 0].flip(0).tolist()


def test_a_distribution_in_one_cell_expects_the_pixel_of_mmposes_grid():
    """Cell 10 of 48 is 40 px of 192 in MMPose, and 10 of the 47 steps between the first and the last pixel in ours."""
    probs = torch.zeros(1, 1, 64, 48)
    probs[0, 0, 16, 10] = 1.0
    for match, expected in (('mmpose', [40.0, 64.0]), ('poseplug', [10 * 191 / 47, 16 * 255 / 63])):
        codec = Integral(ONE, SIZE, match=match)
        points = soft_argmax(probs, SIZE, codec.aligned)
        poses = codec.decode({'heatmap': probs, 'keypoints': points})
        np.testing.assert_allclose(poses.keypoints[0, 0], expected, rtol=1e-6)
        assert poses.keypoint_scores.item() == 1.0


def test_mmpose_scores_the_integral_by_one_and_we_by_the_height_of_the_peak():
    probs = torch.full((1, 1, 64, 48), 1 / (64 * 48))
    for match, score in (('mmpose', 1.0), ('poseplug', (2 * np.pi * 2**2) / (64 * 48))):  # sigma is 8 px, 2 cells
        codec = Integral(ONE, SIZE, match=match, sigma_px=8.0)
        poses = codec.decode({'heatmap': probs, 'keypoints': soft_argmax(probs, SIZE, codec.aligned)})
        assert poses.keypoint_scores.item() == pytest.approx(score, rel=1e-3)


def dark_step_plainly(line: np.ndarray, kernel_size: int) -> float:
    """DARK's step along a line: blur, scale back, clip, logarithm, repeat the ends, one Newton step of two bins."""
    smooth = cv2.GaussianBlur(line[None], (kernel_size, 1), 0, borderType=cv2.BORDER_CONSTANT)[0]
    n = int(line.argmax())
    near = smooth[max(n - 2, 0) : n + 3]
    f = np.pad(np.log((smooth * line.max() / near.max()).clip(1e-3, 50)), 2, mode='edge')[n : n + 5]
    return (f[1] - f[3]) / 2 / ((f[4] - 2 * f[2] + f[0]) / 4)


def test_a_step_of_dark_has_any_length_in_mmpose_and_none_beyond_the_blur_in_ours():
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.1, 1, (300, 1, 24))
    noise[:40, :, 0], noise[40:80, :, 1], noise[80:120, :, 23] = 1.1, 1.1, 1.1  # also at the ends
    lines = {'x': torch.from_numpy(noise), 'y': torch.ones(300, 1, 24, dtype=torch.float64)}
    settings = dict(simcc_split_ratio=1, sigma=2.0, refine='dark')
    mmpose, ours = (
        SimCC(ONE, (24, 24), match=match, **settings).decode(lines).keypoints[:, 0, 0].numpy()
        for match in ('mmpose', 'poseplug')
    )
    bins = noise[:, 0].argmax(axis=-1)
    steps = np.array([dark_step_plainly(line, 11) for line in noise[:, 0]])
    np.testing.assert_allclose(mmpose - bins, steps, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours - bins, np.where(abs(steps) <= 5, steps, 0), rtol=1e-3, atol=1e-3)
    assert 5 < (abs(steps) > 5).sum() < 150


def test_positions_are_corrected_by_the_sum_of_the_exponentials():
    """A cell of 3 among 63 of 0: the sum C of the exponentials is 63 + e³ = 83.0855, and x becomes
    C / (C - 1) (x - 1 / (2 C)) = 1.012183 (x - 0.006018)."""
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 2, 6] = 3.0
    points = soft_argmax(maps.flatten(2).softmax(-1).view_as(maps), (8, 8), aligned=False)
    np.testing.assert_allclose(points[0, 0], [0.509284, 0.394429], atol=1e-6)
    np.testing.assert_allclose(correct_positions(points, maps)[0, 0], [0.509397, 0.393143], atol=1e-6)


def test_a_match_that_a_codec_does_not_offer_is_an_error():
    with pytest.raises(ConfigError, match="SimCC: match is one of poseplug, mmpose; got 'official'"):
        SimCC(ONE, SIZE, match='official')
    with pytest.raises(ConfigError, match='CPMHeatmap: match is one of poseplug; got'):
        CPMHeatmap(ONE, (368, 368), match='mmpose')
    with pytest.raises(ConfigError, match='set aligned=True'):
        DARKHeatmap(ONE, SIZE, match='official')
