import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.codecs.refine import REFINES, blurred, dark_kernel, neighbourhood, peaks, refine, smoothing, strip_count
from poseplug.skeleton import Skeleton

FOUR = Skeleton('four', ('a', 'b', 'c', 'd'))


def noisy_maps(height: int = 40, width: int = 36) -> torch.Tensor:
    """Gaussians at random places, inside and at the border, under positive noise: (4, 5, H, W)."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    at = chance.uniform(0, 1, (4, 5, 2, 1, 1)) * np.array([width - 1, height - 1]).reshape(2, 1, 1)
    maps = np.exp(-((x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2) / (2 * 2.0**2))
    return torch.from_numpy((maps + chance.uniform(0, 0.1, maps.shape) + 1e-3).astype(np.float32))


def dark_by_hand(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """DARK as published, over the whole map: blur inside a border of zeros, rescale, logarithm, one Newton step."""
    border = (kernel - 1) // 2
    height, width = heatmap.shape
    padded = np.zeros((height + 2 * border, width + 2 * border), np.float32)
    padded[border:-border, border:-border] = heatmap
    blurred = cv2.GaussianBlur(padded, (kernel, kernel), 0)[border:-border, border:-border]
    f = np.log(np.maximum(blurred * heatmap.max() / blurred.max(), 1e-10)).astype(np.float64)
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], float)
    dx, dy = 0.5 * (f[y, x + 1] - f[y, x - 1]), 0.5 * (f[y + 1, x] - f[y - 1, x])
    dxx = 0.25 * (f[y, x + 2] - 2 * f[y, x] + f[y, x - 2])
    dyy = 0.25 * (f[y + 2, x] - 2 * f[y, x] + f[y - 2, x])
    dxy = 0.25 * (f[y + 1, x + 1] - f[y - 1, x + 1] - f[y + 1, x - 1] + f[y - 1, x - 1])
    return np.array([x, y]) - np.linalg.inv([[dxx, dxy], [dxy, dyy]]) @ [dx, dy]


@pytest.mark.parametrize('kernel', [3, 5, 7, 11, 17])
def test_dark_is_the_published_formula_over_the_whole_map(kernel):
    maps = noisy_maps()
    cells, _ = peaks(maps)
    ours = refine(maps, cells, 'dark', kernel).numpy()
    by_hand = np.array([[dark_by_hand(m, kernel) for m in people] for people in maps.numpy()])
    assert np.abs(by_hand - cells.numpy()).max() > 0.2
    np.testing.assert_allclose(ours, by_hand, atol=1e-4)


@pytest.mark.parametrize('kernel', [3, 5, 7, 11, 13, 17])
def test_the_blur_is_that_of_opencv(kernel):
    line = cv2.getGaussianKernel(kernel, 0)
    np.testing.assert_allclose(smoothing(kernel)[2, 2:-2], line[:, 0], atol=1e-7)
    assert not smoothing(kernel)[2, [0, 1, -2, -1]].any()


@pytest.mark.parametrize(('sigma', 'kernel'), [(0.5, 3), (0.875, 3), (1.0, 3), (2.0, 11), (3.0, 17)])
def test_the_blur_that_belongs_to_a_gaussian_is_the_published_one(sigma, kernel):
    assert dark_kernel(sigma) == kernel


@pytest.mark.parametrize(('how', 'tolerance'), [('dark', 0.05), ('udp', 0.005), ('taylor', 0.001)])
def test_the_center_of_a_gaussian_between_the_cells_is_recovered(how, tolerance):
    codec = Heatmap(FOUR, (192, 256), sigma=8.0, refine=how)
    keypoints = torch.rand(16, 1, 4, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([128.0, 192.0]) + 32
    poses = codec.decode(codec.encode(keypoints, torch.ones(16, 1, 4)).at(0))
    assert ((poses.keypoints - keypoints[:, 0]) / 4).abs().max() < tolerance


@pytest.mark.parametrize('how', REFINES)
def test_a_map_without_a_summit_stays_at_its_largest_cell(how):
    maps = torch.zeros(1, 2, 12, 12)
    maps[0, 1] = -0.5
    cells, values = peaks(maps)
    assert values.tolist() == [[0.0, -0.5]]
    assert torch.equal(refine(maps, cells, how, 11), torch.zeros(1, 2, 2))


def test_the_peak_of_equal_cells_is_the_first_row_by_row():
    maps = torch.zeros(1, 1, 20, 30)
    maps[0, 0, 3, 25] = maps[0, 0, 17, 4] = 1
    cells, values = peaks(maps)
    assert (cells.tolist(), values.tolist()) == ([[[25, 3]]], [[1.0]])


@pytest.mark.parametrize('size', [(46, 46), (64, 48), (7, 5), (1, 1), (13, 130), (128, 96)])
def test_a_peak_is_the_largest_cell_of_any_map(size):
    maps = torch.rand(3, 4, *size, generator=torch.Generator().manual_seed(0))
    cells, values = peaks(maps)
    places = maps.numpy().reshape(3, 4, -1).argmax(-1)
    np.testing.assert_array_equal(cells, np.stack([places % size[1], places // size[1]], -1))
    np.testing.assert_array_equal(values, maps.numpy().max((2, 3)))
    assert (size[0] * size[1]) % strip_count(size[0] * size[1]) == 0


def test_the_peak_of_maps_in_half_precision_is_found_to_the_cell():
    maps = torch.zeros(1, 2, 128, 96, dtype=torch.bfloat16)
    maps[0, 0, 127, 95] = maps[0, 1, 101, 67] = 0.5
    assert peaks(maps)[0].tolist() == [[[95, 127], [67, 101]]]


def test_the_peak_of_a_map_without_numbers_is_one_of_its_cells():
    cells, values = peaks(torch.full((1, 1, 20, 30), torch.nan))
    assert values.isnan().all()
    assert ((cells >= 0) & (cells < torch.tensor([30, 20]))).all()


def test_a_quarter_step_goes_to_the_higher_neighbour_and_only_where_there_are_two():
    maps = torch.zeros(1, 3, 9, 9)
    maps[0, 0, 4, 5], maps[0, 0, 4, 6], maps[0, 0, 3, 5] = 1.0, 0.5, 0.2  # right and up
    maps[0, 1, 0, 4], maps[0, 1, 1, 4], maps[0, 1, 0, 3] = 1.0, 0.5, 0.2  # on the first row: left only
    maps[0, 2, 8, 8], maps[0, 2, 7, 8] = 1.0, 0.5  # in the corner
    cells, _ = peaks(maps)
    assert refine(maps, cells, 'quarter')[0].tolist() == [[5.25, 3.75], [3.75, 0.0], [8.0, 8.0]]


def test_a_neighbourhood_is_zero_beyond_the_map():
    maps = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    assert neighbourhood(maps, torch.tensor([[[0, 0]]]), 1)[..., 0, 0].tolist() == [[0, 0, 0], [0, 1, 2], [0, 5, 6]]
    assert neighbourhood(maps, torch.tensor([[[3, 2]]]), 1)[..., 0, 0].tolist() == [[7, 8, 0], [11, 12, 0], [0, 0, 0]]


def test_a_map_that_expand_repeats_has_a_neighbourhood_for_every_peak():
    maps, cells = torch.rand(2, 1, 5, 4), torch.tensor([[[0, 0], [3, 4], [2, 1]]]).expand(2, -1, -1)
    repeated = neighbourhood(maps.repeat(1, 3, 1, 1), cells, 1)
    assert torch.equal(neighbourhood(maps.expand(-1, 3, -1, -1), cells, 1), repeated)


def udp_by_hand(heatmap: np.ndarray, kernel: int) -> np.ndarray:
    """UDP as published, over the whole map: blur, rescale, clip, logarithm, outermost cells repeated, a Newton step."""
    blurry = cv2.GaussianBlur(heatmap, (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
    f = np.pad(np.log((blurry * heatmap.max() / blurry.max()).clip(1e-3, 50)).astype(np.float64), 1, mode='edge')
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    (a, b, _), (d, e, g), (_, i, j) = f[y : y + 3, x : x + 3]
    cross = (j - g - i + 2 * e - d - b + a) / 2
    curves = np.array([[g - 2 * e + d, cross], [cross, i - 2 * e + b]]) + 1.2e-7 * np.eye(2)
    step = np.linalg.solve(curves, [(g - d) / 2, (i - b) / 2])
    return np.array([x, y]) - (step if abs(step).max() <= kernel // 2 else 0)


@pytest.mark.parametrize('kernel', [3, 7, 11])
def test_udp_is_the_published_formula_over_the_whole_map(kernel):
    maps = noisy_maps()
    cells, _ = peaks(maps)
    by_hand = np.array([[udp_by_hand(m, kernel) for m in people] for people in maps.numpy()])
    assert np.abs(by_hand - cells.numpy()).max() > 0.2
    np.testing.assert_allclose(refine(maps, cells, 'udp', kernel), by_hand, atol=1e-3)


def test_udp_takes_no_step_beyond_the_reach_of_its_blur():
    """Over a ridge that rises from 1 to 1.01 along x the expansion sees a summit far outside the map."""
    maps = torch.exp(-((torch.arange(20.0) - 9.3) ** 2) / 8)[:, None] * torch.linspace(1, 1.01, 30)
    cells, _ = peaks(maps[None, None])
    assert (refine(maps[None, None], cells, 'udp', 11) - cells).abs().max() <= 5


def test_the_second_step_goes_a_quarter_of_a_cell_to_the_second_largest_cell_wherever_it_is():
    maps = torch.zeros(1, 3, 9, 9)
    maps[0, 0, 4, 5], maps[0, 0, 4, 6], maps[0, 0, 3, 5] = 1.0, 0.5, 0.2
    maps[0, 1, 2, 0], maps[0, 1, 6, 3] = 1.0, 0.9  # three cells to the right and four down
    maps[0, 2, 8, 8] = 1.0  # nothing beside it
    cells, _ = peaks(maps)
    torch.testing.assert_close(
        refine(maps, cells, 'second')[0], torch.tensor([[5.25, 4.0], [0.15, 2.2], [8.0, 8.0]]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize('kernel', [3, 11, 21])
@pytest.mark.parametrize(('mirror', 'border'), [(False, cv2.BORDER_CONSTANT), (True, cv2.BORDER_REFLECT_101)])
def test_blurred_maps_are_those_of_opencv(kernel, mirror, border):
    maps = noisy_maps(18, 13)
    by_cv2 = [[cv2.GaussianBlur(m, (kernel, kernel), 0, borderType=border) for m in p] for p in maps.numpy()]
    np.testing.assert_allclose(blurred(maps, kernel, mirror), by_cv2, atol=1e-6)
