import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.skeleton import Skeleton
from poseplug.fields.blur import blur_heatmaps, dark_kernel_size, smoothing_matrix
from poseplug.fields.refine import (
    REFINEMENTS,
    count_strips,
    find_line_maxima,
    gather_neighborhood,
    get_heatmap_maximum,
    refine_keypoints,
)

FOUR = Skeleton('four', ('a', 'b', 'c', 'd'))


def noisy_heatmaps(height: int = 40, width: int = 36) -> torch.Tensor:
    """Gaussians at random positions, inside and at the border, under positive noise: (4, 5, H, W)."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    at = generator.uniform(0, 1, (4, 5, 2, 1, 1)) * np.array([width - 1, height - 1]).reshape(2, 1, 1)
    heatmaps = np.exp(-((x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2) / (2 * 2.0**2))
    return torch.from_numpy((heatmaps + generator.uniform(0, 0.1, heatmaps.shape) + 1e-3).astype(np.float32))


def dark_plainly(heatmap: np.ndarray, kernel_size: int, rescale: str = 'peak') -> np.ndarray:
    """DARK as published, over the whole heatmap: blur inside a border of zeros, rescale, logarithm, one Newton step.

    By 'range' it is rescaled as in the text, (h - min h) / (max h - min h) times the height before the blur.
    """
    border = (kernel_size - 1) // 2
    height, width = heatmap.shape
    padded = np.zeros((height + 2 * border, width + 2 * border), np.float32)
    padded[border:-border, border:-border] = heatmap
    blurred = cv2.GaussianBlur(padded, (kernel_size, kernel_size), 0)[border:-border, border:-border]
    low = blurred.min() if rescale == 'range' else 0.0
    scaled = (blurred - low) / (blurred.max() - low) * heatmap.max()
    f = np.log(np.maximum(scaled, 1e-10)).astype(np.float64)
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.array([x, y], float)
    dx, dy = 0.5 * (f[y, x + 1] - f[y, x - 1]), 0.5 * (f[y + 1, x] - f[y - 1, x])
    dxx = 0.25 * (f[y, x + 2] - 2 * f[y, x] + f[y, x - 2])
    dyy = 0.25 * (f[y + 2, x] - 2 * f[y, x] + f[y - 2, x])
    right, left = f[y + 1, x + 1] - f[y - 1, x + 1], f[y + 1, x - 1] - f[y - 1, x - 1]
    dxy = 0.25 * (right - left)
    return np.array([x, y]) - np.linalg.inv([[dxx, dxy], [dxy, dyy]]) @ [dx, dy]


@pytest.mark.parametrize('rescale', ['peak', 'range'])
@pytest.mark.parametrize('kernel_size', [3, 5, 7, 11, 17])
def test_dark_is_the_published_formula_over_the_whole_heatmap(kernel_size, rescale):
    heatmaps = noisy_heatmaps()
    cells, _ = get_heatmap_maximum(heatmaps)
    ours = refine_keypoints(heatmaps, cells, 'dark', kernel_size, rescale=rescale).numpy()
    expected = np.array([[dark_plainly(m, kernel_size, rescale) for m in instance] for instance in heatmaps.numpy()])
    assert np.abs(expected - cells.numpy()).max() > 0.2
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_stretching_the_whole_range_takes_off_a_part_of_a_background():
    """Without a background both rules are equal; with one the peak is read nearer to where it is without."""
    y, x = np.mgrid[:40, :36]
    heatmap = torch.from_numpy(np.exp(-((x - 18.3) ** 2 + (y - 20.2) ** 2) / 8))[None, None]
    cells = torch.tensor([[[18, 20]]])
    without = refine_keypoints(heatmap, cells, 'dark', 11)
    assert_close(refine_keypoints(heatmap, cells, 'dark', 11, rescale='range'), without, atol=1e-6, rtol=0)
    heatmaps = 0.3 + 0.7 * heatmap
    by_peak, by_range = (refine_keypoints(heatmaps, cells, 'dark', 11, rescale=rule) for rule in ('peak', 'range'))
    # a part only: zeros beyond the border make the corners the smallest values, about a quarter of the background
    assert 0.9 * (by_peak - without).norm() > (by_range - without).norm() > 0


@pytest.mark.parametrize('method', ['dark', 'udp'])
def test_without_modulation_a_gaussian_is_read_exactly(method):
    """A kernel of one cell smooths nothing, and a quadratic logarithm has the same derivatives at any step."""
    y, x = np.mgrid[:20, :24]
    heatmap = np.exp(-((x - 10.3) ** 2 + (y - 8.8) ** 2) / (2 * 2.0**2)).astype(np.float32)
    heatmaps = torch.from_numpy(heatmap)[None, None]
    cells, _ = get_heatmap_maximum(heatmaps)
    assert cells.tolist() == [[[10, 9]]]
    refined = refine_keypoints(heatmaps, cells, method, 1)
    np.testing.assert_allclose(refined[0, 0].numpy(), [10.3, 8.8], atol=1e-4)


@pytest.mark.parametrize('kernel_size', [3, 5, 7, 11, 13, 17])
def test_the_blur_is_that_of_opencv(kernel_size):
    line = cv2.getGaussianKernel(kernel_size, 0)
    np.testing.assert_allclose(smoothing_matrix(kernel_size)[2, 2:-2], line[:, 0], atol=1e-7)
    assert not smoothing_matrix(kernel_size)[2, [0, 1, -2, -1]].any()


@pytest.mark.parametrize(('sigma', 'kernel_size'), [(0.5, 3), (0.875, 3), (1.0, 3), (2.0, 11), (3.0, 17)])
def test_the_blur_size_for_a_gaussian_is_the_published_one(sigma, kernel_size):
    assert dark_kernel_size(sigma) == kernel_size


@pytest.mark.parametrize(('refine', 'tolerance'), [('dark', 0.05), ('udp', 0.005), ('taylor', 0.001)])
def test_the_center_of_a_gaussian_between_the_cells_is_recovered(refine, tolerance):
    codec = Heatmap(FOUR, (192, 256), sigma_px=8.0, refine=refine)
    keypoints = torch.rand(16, 1, 4, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([128.0, 192.0]) + 32
    poses = codec.decode(codec.encode(keypoints, torch.ones(16, 1, 4)).stage_fields(0))
    assert ((poses.keypoints - keypoints[:, 0]) / 4).abs().max() < tolerance


@pytest.mark.parametrize('method', REFINEMENTS)
def test_the_peak_of_a_heatmap_without_a_summit_stays_in_its_largest_cell(method):
    heatmaps = torch.zeros(1, 2, 12, 12)
    heatmaps[0, 1] = -0.5
    cells, values = get_heatmap_maximum(heatmaps)
    assert values.tolist() == [[0.0, -0.5]]
    assert torch.equal(refine_keypoints(heatmaps, cells, method, 11), torch.zeros(1, 2, 2))


def test_the_peak_of_equal_cells_is_the_first_row_by_row():
    heatmaps = torch.zeros(1, 1, 20, 30)
    heatmaps[0, 0, 3, 25] = heatmaps[0, 0, 17, 4] = 1
    cells, values = get_heatmap_maximum(heatmaps)
    assert (cells.tolist(), values.tolist()) == ([[[25, 3]]], [[1.0]])


@pytest.mark.parametrize('size', [(46, 46), (64, 48), (7, 5), (1, 1), (13, 130), (128, 96)])
def test_the_peak_is_the_first_largest_cell_of_a_heatmap_of_any_size(size):
    heatmaps = torch.rand(3, 4, *size, generator=torch.Generator().manual_seed(0)).mul(50).round()  # with ties
    cells, values = get_heatmap_maximum(heatmaps)
    indices = heatmaps.numpy().reshape(3, 4, -1).argmax(-1)
    np.testing.assert_array_equal(cells, np.stack([indices % size[1], indices // size[1]], -1))
    np.testing.assert_array_equal(values, heatmaps.numpy().max((2, 3)))
    assert (size[0] * size[1]) % count_strips(size[0] * size[1]) == 0


def find_line_maxima_plainly(lines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same without strips."""
    values, indices = lines.max(dim=1)
    return indices, values


def lines_of_every_kind(length: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    noise = torch.randn(12, length, generator=generator)
    position = torch.randint(length, (12, 1), generator=generator)
    return {
        'random': noise,
        'with ties': noise.round(),
        'largest at the start': noise.index_fill(1, torch.tensor([0]), 9.0),
        'largest at the end': noise.index_fill(1, torch.tensor([length - 1]), 9.0),
        'all equal': torch.full((3, length), -0.5),
        'all minus infinity': torch.full((3, length), -torch.inf),
        'with infinity': noise.round().scatter(1, position, torch.inf),
        'one NaN': noise.scatter(1, position, torch.nan),
        'many NaN': torch.where(noise > 1, torch.nan, noise),
        'all NaN': torch.full((3, length), torch.nan),
        'no lines': torch.zeros(0, length),
    }


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize('length', [1, 35, 127, 256, 257, 46 * 46, 64 * 48, 128 * 96])
def test_the_search_in_strips_is_bit_for_bit_the_plain_one(length, dtype):
    for kind, lines in lines_of_every_kind(length).items():
        lines = lines.to(dtype)
        before = lines.clone()
        indices, values = find_line_maxima(lines)
        expected_indices, expected_values = find_line_maxima_plainly(lines)
        assert torch.equal(indices, expected_indices), kind
        assert values.dtype == dtype
        assert_close(values, expected_values, rtol=0, atol=0, equal_nan=True)
        assert_close(lines, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ('length', 'num_strips'), [(1, 1), (255, 1), (256, 2), (257, 1), (2116, 4), (3072, 16), (0, 1)]
)
def test_strips_divide_a_line_and_have_at_least_128_numbers(length, num_strips):
    assert count_strips(length) == num_strips


def test_the_peak_of_heatmaps_in_half_precision_is_exact_to_the_cell():
    heatmaps = torch.zeros(1, 2, 128, 96, dtype=torch.bfloat16)
    heatmaps[0, 0, 127, 95] = heatmaps[0, 1, 101, 67] = 0.5
    assert get_heatmap_maximum(heatmaps)[0].tolist() == [[[95, 127], [67, 101]]]


def test_the_peak_of_a_heatmap_of_nan_is_one_of_its_cells():
    cells, values = get_heatmap_maximum(torch.full((1, 1, 20, 30), torch.nan))
    assert values.isnan().all()
    assert ((cells >= 0) & (cells < torch.tensor([30, 20]))).all()


def test_a_quarter_step_goes_to_the_higher_neighbor_and_only_where_there_are_two():
    heatmaps = torch.zeros(1, 3, 9, 9)
    heatmaps[0, 0, 4, 5], heatmaps[0, 0, 4, 6], heatmaps[0, 0, 3, 5] = 1.0, 0.5, 0.2  # right and up
    heatmaps[0, 1, 0, 4], heatmaps[0, 1, 1, 4], heatmaps[0, 1, 0, 3] = 1.0, 0.5, 0.2  # on the first row: left only
    heatmaps[0, 2, 8, 8], heatmaps[0, 2, 7, 8] = 1.0, 0.5  # in the corner
    cells, _ = get_heatmap_maximum(heatmaps)
    assert refine_keypoints(heatmaps, cells, 'quarter')[0].tolist() == [[5.25, 3.75], [3.75, 0.0], [8.0, 8.0]]


def test_a_neighborhood_is_zero_beyond_the_heatmap():
    heatmaps = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    assert gather_neighborhood(heatmaps, torch.tensor([[[0, 0]]]), 1)[..., 0, 0].tolist() == [
        [0, 0, 0],
        [0, 1, 2],
        [0, 5, 6],
    ]
    assert gather_neighborhood(heatmaps, torch.tensor([[[3, 2]]]), 1)[..., 0, 0].tolist() == [
        [7, 8, 0],
        [11, 12, 0],
        [0, 0, 0],
    ]


def test_a_heatmap_that_expand_repeats_has_a_neighborhood_for_every_peak():
    heatmaps, cells = torch.rand(2, 1, 5, 4), torch.tensor([[[0, 0], [3, 4], [2, 1]]]).expand(2, -1, -1)
    repeated = gather_neighborhood(heatmaps.repeat(1, 3, 1, 1), cells, 1)
    assert torch.equal(gather_neighborhood(heatmaps.expand(-1, 3, -1, -1), cells, 1), repeated)


def udp_plainly(heatmap: np.ndarray, kernel_size: int) -> np.ndarray:
    """UDP as published, over the whole heatmap: blur, rescale, clip, logarithm, repeat the border, one Newton step."""
    blurry = cv2.GaussianBlur(heatmap, (kernel_size, kernel_size), 0, borderType=cv2.BORDER_CONSTANT)
    f = np.pad(np.log((blurry * heatmap.max() / blurry.max()).clip(1e-3, 50)).astype(np.float64), 1, mode='edge')
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    (a, b, _), (d, e, g), (_, i, j) = f[y : y + 3, x : x + 3]
    cross = (j - g - i + 2 * e - d - b + a) / 2
    curves = np.array([[g - 2 * e + d, cross], [cross, i - 2 * e + b]]) + 1.2e-7 * np.eye(2)
    step = np.linalg.solve(curves, [(g - d) / 2, (i - b) / 2])
    return np.array([x, y]) - (step if abs(step).max() <= kernel_size // 2 else 0)


@pytest.mark.parametrize('kernel_size', [3, 7, 11])
def test_udp_is_the_published_formula_over_the_whole_heatmap(kernel_size):
    heatmaps = noisy_heatmaps()
    cells, _ = get_heatmap_maximum(heatmaps)
    expected = np.array([[udp_plainly(m, kernel_size) for m in instance] for instance in heatmaps.numpy()])
    assert np.abs(expected - cells.numpy()).max() > 0.2
    np.testing.assert_allclose(refine_keypoints(heatmaps, cells, 'udp', kernel_size), expected, atol=1e-3)


def matched_udp_plainly(heatmap: np.ndarray, kernel_size: int, is_official: bool) -> np.ndarray:
    """UDP-Pose's and MMPose's step over the whole heatmap, of any length."""
    border = cv2.BORDER_REFLECT_101 if is_official else cv2.BORDER_CONSTANT
    blurry = cv2.GaussianBlur(heatmap.astype(float), (kernel_size, kernel_size), 0, borderType=border)
    low = blurry.min() if is_official else 0
    stretched = (blurry - low) * heatmap.max() / (blurry.max() - low)
    f = np.pad(np.log(stretched.clip(1e-3, 50)), 1, mode='edge')
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    (a, b, _), (d, e, g), (_, i, j) = f[y : y + 3, x : x + 3]
    cross = (j - g - i + 2 * e - d - b + a) / 2
    eps = 0 if is_official else np.finfo(np.float32).eps
    curves = np.array([[g - 2 * e + d + eps, cross], [cross, i - 2 * e + b + eps]])
    return np.array([x, y]) - np.linalg.solve(curves, [(g - d) / 2, (i - b) / 2])


@pytest.mark.parametrize('match', ['mmpose', 'official'])
def test_the_matched_step_of_udp_is_that_of_the_whole_blurred_heatmap_of_any_height(match):
    heights = torch.tensor([1.2e-3, 0.5, 0.9, 1.2, 1.5])  # of the first all cells but the highest are clipped
    heatmaps = noisy_heatmaps() * heights[:, None, None]
    cells, _ = get_heatmap_maximum(heatmaps)
    maps = heatmaps.numpy().reshape(-1, *heatmaps.shape[2:])
    expected = np.array([matched_udp_plainly(m, 11, match == 'official') for m in maps]).reshape(cells.shape)
    refined = refine_keypoints(heatmaps, cells, 'udp', 11, match)
    np.testing.assert_allclose(refined, expected, atol=1e-3, rtol=1e-3)


def test_the_official_quarter_step_needs_room_on_both_axes_for_each_keypoint_by_itself():
    heatmaps = torch.zeros(2, 2, 9, 9)
    for n, (x, y) in enumerate([(4, 4), (1, 4), (4, 8), (6, 6)]):
        heatmaps[n // 2, n % 2, y, x], heatmaps[n // 2, n % 2, y - 1, x - 1] = 1.0, 0.1
        heatmaps[n // 2, n % 2, y, x - 1] = heatmaps[n // 2, n % 2, y - 1, x] = 0.5  # higher to the left and above
    cells, _ = get_heatmap_maximum(heatmaps)
    refined = refine_keypoints(heatmaps, cells, 'quarter', match='official')
    assert refined.tolist() == [[[3.75, 3.75], [1, 4]], [[4, 8], [5.75, 5.75]]]


def test_unrefined_peaks_have_the_precision_of_the_heatmaps():
    cells = torch.tensor([[[1, 2]]])
    assert refine_keypoints(torch.zeros(1, 1, 4, 4), cells, 'none').dtype == torch.float32


def test_udp_makes_no_step_beyond_the_reach_of_its_blur():
    """Over a ridge that rises from 1 to 1.01 along x the expansion sees a summit far outside the heatmap."""
    heatmaps = torch.exp(-((torch.arange(20.0) - 9.3) ** 2) / 8)[:, None] * torch.linspace(1, 1.01, 30)
    cells, _ = get_heatmap_maximum(heatmaps[None, None])
    assert (refine_keypoints(heatmaps[None, None], cells, 'udp', 11) - cells).abs().max() <= 5


def test_the_second_peak_step_goes_a_quarter_of_a_cell_to_the_second_largest_cell_wherever_it_is():
    heatmaps = torch.zeros(1, 3, 9, 9)
    heatmaps[0, 0, 4, 5], heatmaps[0, 0, 4, 6], heatmaps[0, 0, 3, 5] = 1.0, 0.5, 0.2
    heatmaps[0, 1, 2, 0], heatmaps[0, 1, 6, 3] = 1.0, 0.9  # three cells to the right and four down
    heatmaps[0, 2, 8, 8] = 1.0  # nothing beside it
    cells, _ = get_heatmap_maximum(heatmaps)
    torch.testing.assert_close(
        refine_keypoints(heatmaps, cells, 'second_peak')[0],
        torch.tensor([[5.25, 4.0], [0.15, 2.2], [8.0, 8.0]]),
        atol=1e-6,
        rtol=0,
    )


@pytest.mark.parametrize('kernel_size', [3, 11, 21])
@pytest.mark.parametrize(('reflect', 'border'), [(False, cv2.BORDER_CONSTANT), (True, cv2.BORDER_REFLECT_101)])
def test_blurred_heatmaps_are_those_of_opencv(kernel_size, reflect, border):
    heatmaps = noisy_heatmaps(18, 13)
    by_cv2 = [
        [cv2.GaussianBlur(m, (kernel_size, kernel_size), 0, borderType=border) for m in p] for p in heatmaps.numpy()
    ]
    np.testing.assert_allclose(blur_heatmaps(heatmaps, kernel_size, reflect), by_cv2, atol=1e-6)
