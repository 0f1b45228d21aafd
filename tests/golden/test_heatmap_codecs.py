"""Heatmap codecs against the numbers of MMPose 1.3.2: enc_* (but SimCC and tags), dec_heatmaps* and dec_udp_combined*.

Files are found by pattern; their arrays tell the numbers of keypoints, cells and cases. Strides are 4 or 8 px, blurs
11 cells, sigma 2 cells, as golden/README.md says.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.base import MapCodec, Targets
from poseplug.codecs.cpn import CPNHeatmap
from poseplug.codecs.dark import DARKHeatmap
from poseplug.codecs.msra import MSRAHeatmap
from poseplug.codecs.udp import UDPCombined, UDPHeatmap
from poseplug.core.skeleton import Skeleton

Numbers = dict[str, np.ndarray]
KERNEL_SIZE = 11
ROUNDING = 4 * 2.0**-24  # of a sum of a few numbers in single precision, relative to their sizes
ENCODERS = {
    'enc_msra_dark': DARKHeatmap,
    'enc_msra': MSRAHeatmap,
    'enc_udp_combined': UDPCombined,
    'enc_udp': UDPHeatmap,
    'enc_megvii': CPNHeatmap,
}


def read_files(golden: Path, pattern: str) -> dict[str, Numbers]:
    """The arrays of every file of a pattern."""
    files = {}
    for path in sorted(golden.glob(f'{pattern}.npz')):
        with np.load(path) as content:
            files[path.stem] = dict(content)
    if not files:
        pytest.skip(f'no {pattern}.npz in {golden}')
    return files


def codec_class_of(name: str) -> type[MapCodec]:
    """The codec that a file of targets belongs to."""
    return next(codec_class for prefix, codec_class in ENCODERS.items() if name.startswith(prefix))


def build_codec(codec_class: type[MapCodec], num_keypoints: int, cells: tuple[int, ...], **settings) -> MapCodec:
    """A codec of maps of `cells` (rows, columns): 46x46 come from 368 px, the others from four times their size."""
    stride = 8 if cells == (46, 46) else 4
    skeleton = Skeleton('numbered', tuple(f'keypoint_{i}' for i in range(num_keypoints)))
    if not issubclass(codec_class, (CPNHeatmap, UDPCombined)):
        settings['sigma_px'] = 2.0 * stride
    if codec_class is CPNHeatmap:
        settings.update(offset=stride / 2, kernel_sizes=(KERNEL_SIZE,))
    return codec_class(skeleton, (cells[1] * stride, cells[0] * stride), stride=stride, **settings)


def encode_file(name: str, numbers: Numbers) -> tuple[Targets, np.ndarray]:
    """The targets for a file's keypoints, and the maps of the last stage in the order of its channels."""
    keypoints, visible = (torch.from_numpy(numbers[n])[:, None] for n in ('keypoints', 'visible'))
    codec = build_codec(codec_class_of(name), keypoints.shape[2], numbers['heatmaps'].shape[-2:])
    targets = codec.encode(keypoints, 2 * visible)
    fields = targets.stages[-1]
    if 'offset' not in fields:
        return targets, fields['heatmap'].numpy()
    triples = (fields['heatmap'], fields['offset'][:, ::2], fields['offset'][:, 1::2])
    return targets, torch.stack(triples, dim=2).flatten(1, 2).numpy()


def map_stats(maps: np.ndarray) -> np.ndarray:
    """(B, C, 4): sum, sum of squares, largest value, and its index."""
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    return np.stack([flat.sum(-1), (flat**2).sum(-1), flat.max(-1), flat.argmax(-1)], axis=-1)


def read_heatmap_files(golden: Path, pattern: str = 'enc_*') -> dict[str, Numbers]:
    """The files of targets that are heatmaps."""
    return {n: v for n, v in read_files(golden, pattern).items() if n.startswith(tuple(ENCODERS))}


def test_maps_are_drawn_as_by_mmpose(golden):
    """Offsets are up to 20 radii, of which single precision has seven digits, as of the sums over all their cells."""
    for name, numbers in read_heatmap_files(golden).items():
        if codec_class_of(name) is CPNHeatmap:
            continue
        _, maps = encode_file(name, numbers)
        expected = numbers['heatmaps']
        np.testing.assert_allclose(maps[: len(expected)], expected, atol=1e-6, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(map_stats(maps), numbers['heatmap_stats'], atol=1e-3, rtol=1e-5, err_msg=name)


def test_blurred_cells_are_drawn_as_by_mmpose_but_with_a_peak_of_255_always(golden):
    """MMPose scales the keypoint's own cell to 255. Beside the border, where the blur is reflected, the outermost cell
    is higher than that, up to 291; the released code of CPN scales the highest cell."""
    for name, numbers in read_heatmap_files(golden, 'enc_megvii*').items():
        _, maps = encode_file(name, numbers)
        height = numbers['heatmap_stats'][..., 2, None, None] / 255
        drawn = maps.max((2, 3), keepdims=True) > 0
        np.testing.assert_allclose(maps.max((2, 3))[drawn[..., 0, 0]], 255, atol=1e-3)
        expected = numbers['heatmaps']
        np.testing.assert_allclose(
            (maps * height)[: len(expected)], expected, atol=1e-4, err_msg=name
        )  # 4e-7 of the peak
        np.testing.assert_allclose(
            map_stats(maps * height), numbers['heatmap_stats'], rtol=1e-5, atol=1e-3, err_msg=name
        )


def test_the_same_keypoints_count_as_in_mmpose(golden):
    for name, numbers in read_heatmap_files(golden).items():
        targets, _ = encode_file(name, numbers)
        weights = targets.stage_field_weights(len(targets.stages) - 1)['heatmap']
        np.testing.assert_array_equal(weights, numbers['weights'], err_msg=name)


class DecodedFile:
    """One file of heatmaps, the poses that a codec decodes from them, and those of MMPose."""

    def __init__(self, numbers: Numbers, codec_class: type[MapCodec], variant: str, **settings):
        self.maps = numbers['heatmaps_f16'].astype(np.float32)
        self.codec = build_codec(codec_class, self.maps.shape[1], self.maps.shape[2:], **settings)
        poses = self.codec.decode({'heatmap': torch.from_numpy(self.maps)})
        self.keypoints, self.scores = poses.keypoints.numpy(), poses.keypoint_scores.numpy()
        self.expected_keypoints, self.expected_scores = numbers[f'{variant}_keypoints'], numbers[f'{variant}_scores']
        self.blurred = np.array([[blur_heatmap(m) for m in instance] for instance in self.maps])

    def largest_cells(self, maps: np.ndarray) -> np.ndarray:
        """(B, K, 2) x, y of the largest cells."""
        index = maps.reshape(*maps.shape[:2], -1).argmax(-1)
        return np.stack([index % maps.shape[-1], index // maps.shape[-1]], axis=-1)

    @property
    def positive(self) -> np.ndarray:
        """(B, K) whether a map has a positive cell."""
        return self.maps.max((2, 3)) > 0

    def logarithm_exists(self, reach: int, min_value: float) -> np.ndarray:
        """(B, K) whether the blurred cells around the peak, scaled to the map's own peak, are above `min_value`."""
        exists = self.positive.copy()
        for (i, k), (x, y) in self.peaks():
            near = self.blurred[i, k, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            exists[i, k] &= bool((near * self.maps[i, k].max() > min_value * self.blurred[i, k].max()).all())
        return exists

    def peaks(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Case and keypoint of every map, and x and y of its largest cell."""
        cells = self.largest_cells(self.maps)
        for index in np.ndindex(cells.shape[:2]):
            yield index, tuple(cells[index].tolist())

    def step_errors(self, spacing: int) -> np.ndarray:
        """(B, K) by how many cells single precision may move a refined peak whose curvatures have steps of `spacing`.

        A step is -H⁻¹g, of differences of logarithms. An error e of each logarithm changes it by up to
        e |H⁻¹| (1 + 4 |step|): each entry of g has two logarithms of weight 1/2, and each of H four of weight 1 or 2.
        """
        return np.array([self._step_error(*peak, spacing) for peak in self.peaks()]).reshape(self.maps.shape[:2])

    def _step_error(self, index: tuple[int, int], cell: tuple[int, int], spacing: int) -> float:
        x, y = cell
        blurred, sizes = (
            np.pad(blur_heatmap(np.asarray(m, np.float64)), spacing, mode='edge')
            for m in (self.maps[index], np.abs(self.maps[index]))
        )
        near, size = (m[y : y + 2 * spacing + 1, x : x + 2 * spacing + 1] for m in (blurred, sizes))
        if not (near > 0).all():
            return np.inf
        # Values of either sign cancel out in a blur, whose rounding is a fraction of the sum of their sizes.
        log_error = ROUNDING * (size / near).max() + ROUNDING * np.abs(np.log(near)).max()
        f, c = np.log(near), spacing
        second = [(f[c, 2 * c] - 2 * f[c, c] + f[c, 0]) / c**2, (f[2 * c, c] - 2 * f[c, c] + f[0, c]) / c**2]
        if spacing == 1:
            mixed = (f[2, 2] - f[2, 1] - f[1, 2] + 2 * f[1, 1] - f[0, 1] - f[1, 0] + f[0, 0]) / 2
            slope = [(f[1, 2] - f[1, 0]) / 2, (f[2, 1] - f[0, 1]) / 2]
        else:
            mixed = (f[3, 3] - f[3, 1] - f[1, 3] + f[1, 1]) / 4
            slope = [(f[2, 3] - f[2, 1]) / 2, (f[3, 2] - f[1, 2]) / 2]
        hessian = np.array([[second[0], mixed], [mixed, second[1]]])
        smallest = np.abs(np.linalg.eigvalsh(hessian)).min()
        if smallest == 0:
            return np.inf
        step = np.linalg.norm(np.linalg.solve(hessian, slope))
        return log_error / smallest * (1 + 4 * step)


def blur_heatmap(heatmap: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(heatmap, (KERNEL_SIZE, KERNEL_SIZE), 0, borderType=cv2.BORDER_CONSTANT)


def decode_files(golden: Path, *args, **settings) -> list[DecodedFile]:
    return [DecodedFile(numbers, *args, **settings) for numbers in read_files(golden, 'dec_heatmaps*').values()]


def test_quarter_steps_are_those_of_mmpose_but_for_two_rows_and_columns(golden):
    """In MMPose a peak in column 0 or 1 makes no step in x, nor one in row 0; in y likewise. A map without a positive
    cell is marked by -1. Here a peak steps along every axis on which it has two neighbors; that of an empty map is its
    first cell."""
    for file in decode_files(golden, MSRAHeatmap, 'msra'):
        cells, last = file.largest_cells(file.maps), np.array(file.codec.grid.size) - 1
        mmpose_steps = (cells > 1) & (cells < last) & (cells[..., ::-1] > 0)
        assert mmpose_steps.mean() > 0.5
        same_rule = 4 * cells + np.where(mmpose_steps, file.keypoints - 4 * cells, 0)
        np.testing.assert_allclose(same_rule[file.positive], file.expected_keypoints[file.positive], atol=1e-4)
        assert (np.abs(file.keypoints - 4 * cells) <= 1 + 1e-4).all()
        assert (file.expected_keypoints[~file.positive] == -4).all()
        np.testing.assert_allclose(file.scores, file.expected_scores.clip(0, 1), atol=1e-6)


def assert_within(actual: np.ndarray, expected: np.ndarray, tolerance: np.ndarray) -> None:
    """Assert that keypoints (N, 2) differ by at most a tolerance (N,) each, and 1e-4, which is decoding's own."""
    excess = np.abs(actual - expected).max(-1) - np.maximum(tolerance, 1e-4)
    assert (excess <= 0).all(), f'{(excess > 0).sum()} of {len(excess)}, by up to {excess.max():.1e} px'


def test_dark_decodes_as_mmpose_wherever_the_logarithm_exists(golden):
    """Elsewhere a blurred cell beside the peak is not positive: both clamp it, and both numbers are arbitrary.
    Differences are rounding, which moves a peak farther the flatter its top is."""
    for file in decode_files(golden, DARKHeatmap, 'msra_dark'):
        exists = file.logarithm_exists(2, 0.0)
        assert exists.mean() > 0.5
        tolerance = 4 * file.step_errors(2)[exists]
        assert (tolerance < 1e-3).mean() > 0.75
        assert_within(file.keypoints[exists], file.expected_keypoints[exists], tolerance)
        np.testing.assert_allclose(file.scores, file.expected_scores.clip(0, 1), atol=1e-6)


def test_udp_decodes_as_mmpose_wherever_the_logarithm_exists(golden):
    """In MMPose cells become pixels by n / (cells - 1), although n - 1 px lie between the first and the last of n
    pixels; an all-zero map yields NaN; and in a map without a summit the keypoint moves any distance. Here such peaks
    stay. Differences are rounding, which moves a peak farther the flatter its top is."""
    for file in decode_files(golden, UDPHeatmap, 'udp'):
        inputs = np.array(file.codec.input_size)
        last = np.array(file.codec.grid.size) - 1
        cells, expected = file.keypoints / (inputs - 1) * last, file.expected_keypoints / inputs * last
        step = np.abs(expected - file.largest_cells(file.maps)).max(-1)
        exists = file.logarithm_exists(1, 1e-3)
        errors = file.step_errors(1)
        long = exists & (step > KERNEL_SIZE // 2 + errors)
        same = exists & (step < KERNEL_SIZE // 2 - errors)
        assert same.mean() > 0.5
        assert (4 * errors[same] < 1e-3).mean() > 0.85
        assert_within(4 * cells[same], 4 * expected[same], 4 * errors[same])
        np.testing.assert_allclose(cells[long], file.largest_cells(file.maps)[long], atol=1e-5)
        assert np.isfinite(file.keypoints).all()
        np.testing.assert_allclose(file.scores, file.expected_scores.clip(0, 1), atol=1e-6)


def test_matched_read_outs_are_those_of_mmpose_near_the_border_and_in_empty_maps_too(golden):
    """Without an exception but what rounding can do, and the maps for which MMPose's UDP gives NaN or a random cell."""
    for file in decode_files(golden, MSRAHeatmap, 'msra', match='mmpose'):
        np.testing.assert_allclose(file.keypoints, file.expected_keypoints, atol=1e-4)
        np.testing.assert_array_equal(file.scores, file.expected_scores)
    for file in decode_files(golden, DARKHeatmap, 'msra_dark', match='mmpose'):
        exists = file.logarithm_exists(2, 0.0) | ~file.positive
        tolerance = np.where(file.positive, 4 * file.step_errors(2), 0)[exists]
        assert_within(file.keypoints[exists], file.expected_keypoints[exists], tolerance)
        np.testing.assert_array_equal(file.scores, file.expected_scores)
    for file in decode_files(golden, UDPHeatmap, 'udp', match='mmpose'):
        inputs, last = np.array(file.codec.input_size), np.array(file.codec.grid.size) - 1
        cells, expected = file.keypoints / (inputs - 1) * last, file.expected_keypoints / inputs * last
        exists = file.logarithm_exists(1, 1e-3)
        assert_within(4 * cells[exists], 4 * expected[exists], 4 * file.step_errors(1)[exists])
        np.testing.assert_array_equal(file.scores, file.expected_scores)


def test_blurred_quarter_steps_are_those_of_mmpose_once_a_cell_is_where_it_was_drawn(golden):
    """MMPose adds half a cell, but not to peaks in the first two or in the last rows and columns, which also make no
    step; here cell g stands at 4g + 2 everywhere. MMPose's scores are those of the largest raw value, here of the raw
    value at the blurred peak, as in the released code, and divided by 1.5; empty maps in MMPose have NaN."""
    for file in decode_files(golden, CPNHeatmap, 'megvii', smoothing_kernel_size=KERNEL_SIZE, refine='quarter'):
        cells, last = file.largest_cells(file.blurred), np.array(file.codec.grid.size) - 1
        usable = file.positive & (file.blurred.max((2, 3)) > 0)
        inner = usable & ((cells > 1) & (cells < last)).all(-1)
        assert inner.mean() > 0.5
        np.testing.assert_allclose(file.keypoints[inner], file.expected_keypoints[inner], atol=1e-4)
        outer = usable & ~inner
        np.testing.assert_allclose(file.expected_keypoints[outer], 4 * cells[outer], atol=1e-4)
        assert (np.abs(file.keypoints - file.expected_keypoints - 2)[outer] <= 1 + 1e-4).all()
        assert np.isfinite(file.scores).all()
        at_raw_peak = usable & (cells == file.largest_cells(file.maps)).all(-1)
        np.testing.assert_allclose(1.5 * file.scores[at_raw_peak], file.expected_scores[at_raw_peak], atol=1e-6)
        largest = (file.maps.max((2, 3)) / 255 + 0.5)[usable]
        np.testing.assert_allclose(file.expected_scores[usable], largest, atol=1e-6)


def test_combined_fields_are_decoded_as_by_mmpose_once_the_grid_is_that_of_encoding(golden):
    """In MMPose cells become pixels by n / (cells - 1), although they were drawn by (n - 1) / (cells - 1)."""
    for name, numbers in read_files(golden, 'dec_udp_combined*').items():
        maps = torch.from_numpy(numbers['heatmaps_f16'].astype(np.float32))
        codec = build_codec(UDPCombined, maps.shape[1] // 3, tuple(maps.shape[2:]))
        offset = torch.stack([maps[:, 1::3], maps[:, 2::3]], dim=2).flatten(1, 2)
        poses = codec.decode({'heatmap': maps[:, ::3], 'offset': offset})
        inputs = np.array(codec.input_size)
        np.testing.assert_allclose(
            poses.keypoints.numpy() * inputs / (inputs - 1), numbers['keypoints'], atol=1e-4, err_msg=name
        )
        np.testing.assert_allclose(poses.keypoint_scores, numbers['scores'].clip(0, 1), atol=1e-6, err_msg=name)
