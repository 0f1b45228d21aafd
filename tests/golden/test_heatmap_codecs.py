"""Heatmap codecs against the numbers of MMPose 1.3.2: enc_* (but SimCC and tags), dec_heatmaps* and dec_udp_combined*.

Files are found by pattern, and say themselves how many joints, cells and cases they have. Strides are 4 or 8 px, blurs
11 cells, sigma 2 cells, as golden/README.md says.
"""

from __future__ import annotations

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
from poseplug.skeleton import Skeleton

Numbers = dict[str, np.ndarray]
KERNEL = 11
ENCODERS = {
    'enc_msra_dark': DARKHeatmap,
    'enc_msra': MSRAHeatmap,
    'enc_udp_combined': UDPCombined,
    'enc_udp': UDPHeatmap,
    'enc_megvii': CPNHeatmap,
}


def read(golden: Path, pattern: str) -> dict[str, Numbers]:
    """The arrays of every file of a pattern."""
    found = {}
    for file in sorted(golden.glob(f'{pattern}.npz')):
        with np.load(file) as content:
            found[file.stem] = dict(content)
    if not found:
        pytest.skip(f'no {pattern}.npz in {golden}')
    return found


def reader_of(name: str) -> type[MapCodec]:
    """The codec that a file of targets belongs to."""
    return next(part for prefix, part in ENCODERS.items() if name.startswith(prefix))


def codec_of(part: type[MapCodec], joints: int, cells: tuple[int, ...], **settings) -> MapCodec:
    """A codec of maps of `cells` (rows, columns): 46x46 come from 368 px, the others from four times their size."""
    stride = 8 if cells == (46, 46) else 4
    skeleton = Skeleton('numbered', tuple(f'joint_{i}' for i in range(joints)))
    if not issubclass(part, (CPNHeatmap, UDPCombined)):
        settings['sigma'] = 2.0 * stride
    if part is CPNHeatmap:
        settings.update(offset=stride / 2, kernels=(KERNEL,))
    return part(skeleton, (cells[1] * stride, cells[0] * stride), stride=stride, **settings)


def encoded(name: str, numbers: Numbers) -> tuple[Targets, np.ndarray]:
    """Our targets for a file's joints, and the maps of the last stage in the order of its channels."""
    keypoints, visible = (torch.from_numpy(numbers[n])[:, None] for n in ('keypoints', 'visible'))
    codec = codec_of(reader_of(name), keypoints.shape[2], numbers['heatmaps'].shape[-2:])
    targets = codec.encode(keypoints, 2 * visible)
    fields = targets.stages[-1]
    if 'offset' not in fields:
        return targets, fields['heatmap'].numpy()
    triples = (fields['heatmap'], fields['offset'][:, ::2], fields['offset'][:, 1::2])
    return targets, torch.stack(triples, dim=2).flatten(1, 2).numpy()


def stats(maps: np.ndarray) -> np.ndarray:
    """(B, C, 4): sum, sum of squares, largest value, and its place."""
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    return np.stack([flat.sum(-1), (flat**2).sum(-1), flat.max(-1), flat.argmax(-1)], axis=-1)


def known(golden: Path, pattern: str = 'enc_*') -> dict[str, Numbers]:
    """The files of targets that are heatmaps."""
    return {n: v for n, v in read(golden, pattern).items() if n.startswith(tuple(ENCODERS))}


def test_maps_are_drawn_as_there(golden):
    """Offsets are up to 20 radii, of which single precision knows seven digits, as of the sums over all their cells."""
    for name, numbers in known(golden).items():
        if reader_of(name) is CPNHeatmap:
            continue
        _, maps = encoded(name, numbers)
        there = numbers['heatmaps']
        np.testing.assert_allclose(maps[: len(there)], there, atol=1e-6, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(stats(maps), numbers['heatmap_stats'], atol=1e-3, rtol=1e-5, err_msg=name)


def test_blurred_cells_are_drawn_as_there_but_with_a_peak_of_255_always(golden):
    """There the joint's own cell is scaled to 255. Beside the border, where the blur is mirrored, the outermost cell is
    higher than that, up to 291; the released code of CPN scales the highest cell."""
    for name, numbers in known(golden, 'enc_megvii*').items():
        _, maps = encoded(name, numbers)
        height = numbers['heatmap_stats'][..., 2, None, None] / 255
        drawn = maps.max((2, 3), keepdims=True) > 0
        np.testing.assert_allclose(maps.max((2, 3))[drawn[..., 0, 0]], 255, atol=1e-3)
        there = numbers['heatmaps']
        np.testing.assert_allclose((maps * height)[: len(there)], there, atol=1e-4, err_msg=name)  # 4e-7 of the peak
        np.testing.assert_allclose(stats(maps * height), numbers['heatmap_stats'], rtol=1e-5, atol=1e-3, err_msg=name)


def test_the_same_joints_count_as_there(golden):
    for name, numbers in known(golden).items():
        targets, _ = encoded(name, numbers)
        weights = targets.weights_at(len(targets.stages) - 1)['heatmap']
        np.testing.assert_array_equal(weights, numbers['weights'], err_msg=name)


class Read:
    """One file of maps, what its codec makes of them, and what was made of them there."""

    def __init__(self, numbers: Numbers, part: type[MapCodec], there: str, **settings):
        self.maps = numbers['heatmaps_f16'].astype(np.float32)
        self.codec = codec_of(part, self.maps.shape[1], self.maps.shape[2:], **settings)
        poses = self.codec.decode({'heatmap': torch.from_numpy(self.maps)})
        self.keypoints, self.scores = poses.keypoints.numpy(), poses.scores.numpy()
        self.there, self.scores_there = numbers[f'{there}_keypoints'], numbers[f'{there}_scores']
        self.blurred = np.array([[blurred(m) for m in person] for person in self.maps])

    def peaks(self, maps: np.ndarray) -> np.ndarray:
        """(B, K, 2) x, y of the largest cells."""
        place = maps.reshape(*maps.shape[:2], -1).argmax(-1)
        return np.stack([place % maps.shape[-1], place // maps.shape[-1]], axis=-1)

    @property
    def positive(self) -> np.ndarray:
        """(B, K) whether a map has a positive cell."""
        return self.maps.max((2, 3)) > 0

    def logarithm_exists(self, reach: int, least: float) -> np.ndarray:
        """(B, K) whether the blurred cells around the peak, scaled to the map's own peak, are above `least`."""
        exists = self.positive.copy()
        for (i, k), (x, y) in zip(np.ndindex(exists.shape), self.peaks(self.maps).reshape(-1, 2), strict=True):
            near = self.blurred[i, k, max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            exists[i, k] &= bool((near * self.maps[i, k].max() > least * self.blurred[i, k].max()).all())
        return exists


def blurred(heatmap: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(heatmap, (KERNEL, KERNEL), 0, borderType=cv2.BORDER_CONSTANT)


def readings(golden: Path, *args, **settings) -> list[Read]:
    return [Read(numbers, *args, **settings) for numbers in read(golden, 'dec_heatmaps*').values()]


def test_quarter_steps_are_those_there_but_for_two_rows_and_columns(golden):
    """There a peak in column 0 or 1 takes no step in x, nor one in row 0; in y likewise. A map without a positive cell
    is marked by -1. Here a peak steps along every axis on which it has two neighbours; an empty map's is its first."""
    for file in readings(golden, MSRAHeatmap, 'msra'):
        cells, last = file.peaks(file.maps), np.array(file.codec.grid.size) - 1
        steps_there = (cells > 1) & (cells < last) & (cells[..., ::-1] > 0)
        assert steps_there.mean() > 0.5
        same_rule = 4 * cells + np.where(steps_there, file.keypoints - 4 * cells, 0)
        np.testing.assert_allclose(same_rule[file.positive], file.there[file.positive], atol=1e-4)
        assert (np.abs(file.keypoints - 4 * cells) <= 1 + 1e-4).all()
        assert (file.there[~file.positive] == -4).all()
        np.testing.assert_allclose(file.scores, file.scores_there.clip(0, 1), atol=1e-6)


def test_dark_reads_maps_as_there_wherever_the_logarithm_exists(golden):
    """Elsewhere a blurred cell beside the peak is not positive: both clamp it, and both numbers are arbitrary."""
    for file in readings(golden, DARKHeatmap, 'msra_dark'):
        exists = file.logarithm_exists(2, 0.0)
        assert exists.mean() > 0.5
        np.testing.assert_allclose(file.keypoints[exists], file.there[exists], atol=1e-4)
        np.testing.assert_allclose(file.scores, file.scores_there.clip(0, 1), atol=1e-6)


def test_udp_reads_maps_as_there_wherever_the_logarithm_exists(golden):
    """There cells become pixels by n / (cells - 1), although n - 1 px lie between the first and the last of n pixels;
    an all-zero map gives NaN; and a map without a summit sends its joint any distance. Here such peaks stay. A step of
    several cells is an ill-posed one: it is as inexact as it is long."""
    for file in readings(golden, UDPHeatmap, 'udp'):
        inputs = np.array(file.codec.input_size)
        cells, there = (
            p * (np.array(file.codec.grid.size) - 1) for p in (file.keypoints / (inputs - 1), file.there / inputs)
        )
        step = np.abs(there - file.peaks(file.maps)).max(-1)
        exists = file.logarithm_exists(1, 1e-3)
        long = exists & (step > KERNEL // 2)
        same = exists & ~long
        assert same.mean() > 0.5
        wrong = np.abs(cells - there).max(-1) * 4
        assert (wrong[same] <= 1e-4 * np.maximum(1, step[same] ** 2)).all()
        np.testing.assert_allclose(cells[long], file.peaks(file.maps)[long], atol=1e-5)
        assert np.isfinite(file.keypoints).all()
        np.testing.assert_allclose(file.scores, file.scores_there.clip(0, 1), atol=1e-6)


def test_blurred_quarter_steps_are_those_there_once_a_cell_is_where_it_was_drawn(golden):
    """There half a cell is added, but not to peaks in the first two or in the last rows and columns, which also take no
    step; here cell g stands at 4g + 2 everywhere. Scores there are those of the largest raw value, here of the raw
    value at the blurred peak, as in the released code, and divided by 1.5; empty maps there have NaN."""
    for file in readings(golden, CPNHeatmap, 'megvii', smooth=KERNEL, refine='quarter'):
        cells, last = file.peaks(file.blurred), np.array(file.codec.grid.size) - 1
        sound = file.positive & (file.blurred.max((2, 3)) > 0)
        inner = sound & ((cells > 1) & (cells < last)).all(-1)
        assert inner.mean() > 0.5
        np.testing.assert_allclose(file.keypoints[inner], file.there[inner], atol=1e-4)
        outer = sound & ~inner
        np.testing.assert_allclose(file.there[outer], 4 * cells[outer], atol=1e-4)
        assert (np.abs(file.keypoints - file.there - 2)[outer] <= 1 + 1e-4).all()
        assert np.isfinite(file.scores).all()
        at_raw_peak = sound & (cells == file.peaks(file.maps)).all(-1)
        np.testing.assert_allclose(1.5 * file.scores[at_raw_peak], file.scores_there[at_raw_peak], atol=1e-6)
        largest = (file.maps.max((2, 3)) / 255 + 0.5)[sound]
        np.testing.assert_allclose(file.scores_there[sound], largest, atol=1e-6)


def test_combined_fields_are_read_as_there_once_the_grid_is_that_of_encoding(golden):
    """There cells become pixels by n / (cells - 1), although they were drawn by (n - 1) / (cells - 1)."""
    for name, numbers in read(golden, 'dec_udp_combined*').items():
        maps = torch.from_numpy(numbers['heatmaps_f16'].astype(np.float32))
        codec = codec_of(UDPCombined, maps.shape[1] // 3, tuple(maps.shape[2:]))
        offset = torch.stack([maps[:, 1::3], maps[:, 2::3]], dim=2).flatten(1, 2)
        poses = codec.decode({'heatmap': maps[:, ::3], 'offset': offset})
        inputs = np.array(codec.input_size)
        np.testing.assert_allclose(
            poses.keypoints.numpy() * inputs / (inputs - 1), numbers['keypoints'], atol=1e-4, err_msg=name
        )
        np.testing.assert_allclose(poses.scores, numbers['scores'].clip(0, 1), atol=1e-6, err_msg=name)
