"""Keypoints as bins against the numbers of MMPose 1.3.2: enc_simcc*, dec_simcc*, and the divergence of losses_inputs*.

The arrays tell the numbers of keypoints, bins and cases; there are two bins per pixel, as golden/README.md says.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from poseplug.codecs.simcc import SimCC
from poseplug.core.skeleton import Skeleton
from poseplug.fields.blur import dark_kernel_size, gaussian_blur_weights
from poseplug.models.losses.kl import KLDivergence
from tests.golden.conftest import need_golden_file
from tests.golden.test_heatmap_codecs import ROUNDING, Numbers, read_files

RTMPOSE = dict(sigma=(4.9, 5.66), normalize=False)
VERSIONS = {
    'default': {},
    'rtmpose': RTMPOSE,
    'dark': dict(**RTMPOSE, refine='dark'),
    'standard': dict(smoothing_type='standard', label_smooth_weight=0.1),
    'standard0': dict(smoothing_type='standard'),
}
LOSSES = {
    "KLDiscretLoss({'use_target_weight': True})": (KLDivergence(), True),
    "KLDiscretLoss({'use_target_weight': False})": (KLDivergence(), False),
    "KLDiscretLoss({'use_target_weight': True, 'beta': 10.0, 'label_softmax': True})": (
        KLDivergence(beta=10, label_softmax=True),
        True,
    ),
}


def versions_in(numbers: Numbers, suffix: str) -> list[str]:
    """The versions of the settings for which a file has arrays; there is one or more."""
    names = [name for name in VERSIONS if f'{name}_{suffix}' in numbers]
    assert names
    return names


def build_codec(version: str, x: np.ndarray, y: np.ndarray) -> SimCC:
    """A codec for lines (B, K, bins) in x and in y."""
    skeleton = Skeleton('numbered', tuple(f'keypoint_{i}' for i in range(x.shape[1])))
    return SimCC(skeleton, (x.shape[2] // 2, y.shape[2] // 2), **VERSIONS[version])


def line_stats(lines: np.ndarray) -> np.ndarray:
    """(B, K, 4): sum, sum of squares, largest value, and its index."""
    lines = lines.astype(np.float64)
    return np.stack([lines.sum(-1), (lines**2).sum(-1), lines.max(-1), lines.argmax(-1)], axis=-1)


def test_lines_are_drawn_and_keypoints_count_as_in_mmpose(golden):
    """In all five versions and all cases, with keypoints up to a tenth of the image outside."""
    for name, numbers in read_files(golden, 'enc_simcc*').items():
        keypoints, visible = (torch.from_numpy(numbers[n])[:, None] for n in ('keypoints', 'visible'))
        for version in versions_in(numbers, 'weights'):
            codec = build_codec(version, numbers[f'{version}_x'], numbers[f'{version}_y'])
            targets = codec.encode(keypoints, 2 * visible)
            for axis, lines in targets.stage_fields(0).items():
                actual, message = lines.numpy(), f'{name} {version} {axis}'
                expected = numbers[f'{version}_{axis}']
                np.testing.assert_allclose(actual[: len(expected)], expected, atol=1e-6, err_msg=message)
                np.testing.assert_allclose(
                    line_stats(actual), numbers[f'{version}_{axis}_stats'], atol=1e-6, err_msg=message
                )
                np.testing.assert_array_equal(targets.weights[axis], numbers[f'{version}_weights'], err_msg=message)


class DecodedFile:
    """A file of lines, the poses that a version of the codec decodes from them, and those of MMPose."""

    def __init__(self, numbers: Numbers, version: str):
        self.lines = [numbers[f'simcc_{axis}_f16'].astype(np.float32) for axis in 'xy']
        self.codec = build_codec(version, *self.lines)
        poses = self.codec.decode({axis: torch.from_numpy(line) for axis, line in zip('xy', self.lines, strict=True)})
        self.keypoints, self.scores = poses.keypoints.numpy(), poses.keypoint_scores.numpy()
        self.expected_keypoints, self.expected_scores = (numbers[f'{version}_{n}'] for n in ('keypoints', 'scores'))

    @property
    def largest_bins(self) -> np.ndarray:
        """(B, K, 2) the largest bins."""
        return np.stack([line.argmax(-1) for line in self.lines], axis=-1)

    @property
    def positive(self) -> np.ndarray:
        """(B, K) whether both lines have a positive bin."""
        return np.minimum(*(line.max(-1) for line in self.lines)) > 0

    def logarithm_exists(self) -> np.ndarray:
        """(B, K, 2) whether the five blurred bins around a peak, scaled to the line's own, exceed the clamp, 1e-3."""
        return np.stack(
            [self._axis_logarithm_exists(*axis) for axis in zip(self.lines, self.codec.sigmas_bins, strict=True)],
            axis=-1,
        )

    def _axis_logarithm_exists(self, line: np.ndarray, sigma: float) -> np.ndarray:
        kernel = gaussian_blur_weights(dark_kernel_size(sigma))
        blurred = np.apply_along_axis(np.convolve, -1, line.astype(np.float64), kernel, 'same')
        near = line.argmax(-1)[..., None] + np.arange(-2, 3)
        values = np.take_along_axis(blurred, near.clip(0, line.shape[-1] - 1), axis=-1)
        top, highest = line.max(-1, keepdims=True), blurred.max(-1, keepdims=True)
        return ((top > 0) & (values * top > 1e-3 * highest)).all(-1)

    def step_errors(self) -> np.ndarray:
        """(B, K, 2) by how many bins single precision may move a refined peak.

        A step is -g / h, of differences of logarithms. An error e of each changes it by up to e (1 + |step|) / |h|.
        """
        axes = zip(self.lines, self.codec.sigmas_bins, strict=True)
        return np.stack([self._axis_step_errors(*axis) for axis in axes], axis=-1)

    def _axis_step_errors(self, line: np.ndarray, sigma: float) -> np.ndarray:
        kernel = gaussian_blur_weights(dark_kernel_size(sigma))
        near = (line.argmax(-1)[..., None] + np.arange(-2, 3)).clip(0, line.shape[-1] - 1)
        blurred, sizes = (
            np.take_along_axis(
                np.apply_along_axis(np.convolve, -1, a.astype(np.float64), kernel, 'same'), near, axis=-1
            )
            for a in (line, np.abs(line))
        )
        positive = np.where(blurred > 0, blurred, 1.0)
        f = np.log(positive)
        log_error = ROUNDING * ((sizes / positive).max(-1) + np.abs(f).max(-1))
        slope = (f[..., 3] - f[..., 1]) / 2
        curve = np.abs(f[..., 4] - 2 * f[..., 2] + f[..., 0]) / 4
        with np.errstate(divide='ignore', invalid='ignore'):
            error = log_error * (1 + np.abs(slope) / curve) / curve
        return np.where((blurred > 0).all(-1) & (curve > 0), error, np.inf)


def decode_files(golden, version: str) -> list[DecodedFile]:
    return [DecodedFile(numbers, version) for numbers in read_files(golden, 'dec_simcc*').values()]


@pytest.mark.parametrize('version', ['default', 'rtmpose'])
def test_the_largest_bins_are_those_of_mmpose_but_for_empty_lines(golden, version):
    """MMPose marks a keypoint without a positive bin by bin -1 and keeps its score; here it is in its largest bin."""
    for file in decode_files(golden, version):
        assert file.positive.mean() > 0.9
        np.testing.assert_allclose(file.keypoints[file.positive], file.expected_keypoints[file.positive], atol=1e-6)
        np.testing.assert_allclose(file.keypoints, file.largest_bins / 2, atol=1e-6)
        assert (file.expected_keypoints[~file.positive] == -0.5).all()
        np.testing.assert_allclose(file.scores, file.expected_scores.clip(0, 1), atol=1e-6)


def test_dark_refines_bins_as_mmpose_wherever_the_logarithm_exists(golden):
    """Elsewhere a blurred bin beside the peak is clamped, to a fraction of the line's blurred maximum in MMPose and of
    that of the five bins here, and both numbers are arbitrary. Differences are rounding, which moves a peak farther the
    flatter its top is. In MMPose an empty line yields NaN, and in a line
    without a summit the keypoint moves any distance; here a step beyond the reach of the blur is not made."""
    for file in decode_files(golden, 'dark'):
        step, reach = (
            np.abs(2 * file.expected_keypoints - file.largest_bins),
            [dark_kernel_size(s) // 2 for s in file.codec.sigmas_bins],
        )
        exists = file.logarithm_exists() & file.positive[..., None]
        errors = file.step_errors()
        same, long = exists & (step < reach - errors), exists & (step > reach + errors)
        assert same.mean() > 0.9
        tolerance = np.maximum(errors[same] / 2, 1e-4)  # px
        assert (tolerance < 1e-3).mean() > 0.9
        assert (np.abs(file.keypoints - file.expected_keypoints)[same] <= tolerance).all()
        np.testing.assert_allclose(file.keypoints[long], file.largest_bins[long] / 2, atol=1e-6)
        assert np.isfinite(file.keypoints).all()
        np.testing.assert_allclose(file.scores, file.expected_scores.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize('version', ['default', 'rtmpose'])
def test_matched_bins_are_those_of_mmpose_in_empty_lines_too(golden, version):
    for name, numbers in read_files(golden, 'dec_simcc*').items():
        lines = {axis: torch.from_numpy(numbers[f'simcc_{axis}_f16'].astype(np.float32)) for axis in 'xy'}
        codec = replace(build_codec(version, *(line.numpy() for line in lines.values())), match='mmpose')
        poses = codec.decode(lines)
        np.testing.assert_allclose(poses.keypoints, numbers[f'{version}_keypoints'], atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(poses.keypoint_scores, numbers[f'{version}_scores'], err_msg=name)


@pytest.mark.parametrize('name', LOSSES)
def test_the_divergence_is_that_of_mmpose_once_it_is_summed_over_the_images(golden, name):
    """In MMPose it is a sum over the images, so that a larger batch makes larger steps; here it is their mean."""
    values, inputs = (need_golden_file(golden, file) for file in ('models_values.json', 'losses_inputs.npz'))
    with np.load(inputs) as content:
        px, py, gx, gy, weight = (torch.from_numpy(content[f'simcc_{n}']) for n in ('px', 'py', 'gx', 'gy', 'w'))
    loss, weighted = LOSSES[name]
    weights = weight if weighted else None
    total = len(px) * (loss(px, gx, weights) + loss(py, gy, weights))
    assert total.item() == pytest.approx(json.loads(values.read_text())['losses'][name], rel=1e-5)
