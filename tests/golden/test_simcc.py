"""Joints as bins against the numbers of MMPose 1.3.2: enc_simcc*, dec_simcc*, and the divergence of losses_inputs*.npz.

Files say themselves how many joints, bins and cases they have; there are two bins a pixel, as golden/README.md says.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from poseplug.codecs.refine import blur_line, dark_kernel
from poseplug.codecs.simcc import SimCC
from poseplug.models.losses.kl import KLDivergence
from poseplug.skeleton import Skeleton
from tests.golden.test_heatmap_codecs import Numbers, read

RTMPOSE = dict(sigma=(4.9, 5.66), normalize=False)
VERSIONS = {
    'default': {},
    'rtmpose': RTMPOSE,
    'dark': dict(**RTMPOSE, refine='dark'),
    'standard': dict(target='one_hot', label_smoothing=0.1),
    'standard0': dict(target='one_hot'),
}
LOSSES = {
    "KLDiscretLoss({'use_target_weight': True})": (KLDivergence(), True),
    "KLDiscretLoss({'use_target_weight': False})": (KLDivergence(), False),
    "KLDiscretLoss({'use_target_weight': True, 'beta': 10.0, 'label_softmax': True})": (
        KLDivergence(beta=10, softmax_labels=True),
        True,
    ),
}


def versions(numbers: Numbers, of: str) -> list[str]:
    """The settings with which a file was made, of those that are told; there is one at least."""
    found = [name for name in VERSIONS if f'{name}_{of}' in numbers]
    assert found
    return found


def codec_of(version: str, x: np.ndarray, y: np.ndarray) -> SimCC:
    """A codec for lines (B, K, bins) in x and in y."""
    skeleton = Skeleton('numbered', tuple(f'joint_{i}' for i in range(x.shape[1])))
    return SimCC(skeleton, (x.shape[2] // 2, y.shape[2] // 2), **VERSIONS[version])


def stats(lines: np.ndarray) -> np.ndarray:
    """(B, K, 4): sum, sum of squares, largest value, and its place."""
    lines = lines.astype(np.float64)
    return np.stack([lines.sum(-1), (lines**2).sum(-1), lines.max(-1), lines.argmax(-1)], axis=-1)


def test_lines_are_drawn_and_joints_count_as_there(golden):
    """In all five versions and all cases, with joints up to a tenth of the picture outside."""
    for name, numbers in read(golden, 'enc_simcc*').items():
        keypoints, visible = (torch.from_numpy(numbers[n])[:, None] for n in ('keypoints', 'visible'))
        for version in versions(numbers, 'weights'):
            codec = codec_of(version, numbers[f'{version}_x'], numbers[f'{version}_y'])
            targets = codec.encode(keypoints, 2 * visible)
            for axis, lines in targets.at(0).items():
                here, about = lines.numpy(), f'{name} {version} {axis}'
                wanted = numbers[f'{version}_{axis}']
                np.testing.assert_allclose(here[: len(wanted)], wanted, atol=1e-6, err_msg=about)
                np.testing.assert_allclose(stats(here), numbers[f'{version}_{axis}_stats'], atol=1e-6, err_msg=about)
                np.testing.assert_array_equal(targets.weights[axis], numbers[f'{version}_weights'], err_msg=about)


class Read:
    """A file of lines, what a version of the codec makes of them, and what was made of them there."""

    def __init__(self, numbers: Numbers, version: str):
        self.lines = [numbers[f'simcc_{axis}_f16'].astype(np.float32) for axis in 'xy']
        self.codec = codec_of(version, *self.lines)
        poses = self.codec.decode({axis: torch.from_numpy(line) for axis, line in zip('xy', self.lines, strict=True)})
        self.keypoints, self.scores = poses.keypoints.numpy(), poses.scores.numpy()
        self.there, self.scores_there = (numbers[f'{version}_{n}'] for n in ('keypoints', 'scores'))

    @property
    def peaks(self) -> np.ndarray:
        """(B, K, 2) the largest bins."""
        return np.stack([line.argmax(-1) for line in self.lines], axis=-1)

    @property
    def positive(self) -> np.ndarray:
        """(B, K) whether both lines have a positive bin."""
        return np.minimum(*(line.max(-1) for line in self.lines)) > 0

    def logarithm_exists(self) -> np.ndarray:
        """(B, K, 2) whether the five blurred bins around a peak, scaled to the line's own, are above what is kept."""
        return np.stack([self._exists(*side) for side in zip(self.lines, self.codec.sigmas, strict=True)], axis=-1)

    def _exists(self, line: np.ndarray, sigma: float) -> np.ndarray:
        kernel = blur_line(dark_kernel(sigma))
        blurred = np.apply_along_axis(np.convolve, -1, line.astype(np.float64), kernel, 'same')
        near = line.argmax(-1)[..., None] + np.arange(-2, 3)
        kept = np.take_along_axis(blurred, near.clip(0, line.shape[-1] - 1), axis=-1)
        top, highest = line.max(-1, keepdims=True), blurred.max(-1, keepdims=True)
        return ((top > 0) & (kept * top > 1e-3 * highest)).all(-1)


def readings(golden, version: str) -> list[Read]:
    return [Read(numbers, version) for numbers in read(golden, 'dec_simcc*').values()]


@pytest.mark.parametrize('version', ['default', 'rtmpose'])
def test_the_largest_bins_are_read_as_there_but_for_empty_lines(golden, version):
    """There a joint without a positive bin is marked by bin -1 and keeps its score; here it is in its largest bin."""
    for file in readings(golden, version):
        assert file.positive.mean() > 0.9
        np.testing.assert_allclose(file.keypoints[file.positive], file.there[file.positive], atol=1e-6)
        np.testing.assert_allclose(file.keypoints, file.peaks / 2, atol=1e-6)
        assert (file.there[~file.positive] == -0.5).all()
        np.testing.assert_allclose(file.scores, file.scores_there.clip(0, 1), atol=1e-6)


def test_dark_places_bins_as_there_wherever_the_logarithm_exists(golden):
    """Elsewhere a blurred bin beside the peak is clamped, to a share of the line's blurred maximum there and of that of
    the five bins here, and both numbers are arbitrary. There an empty line gives NaN, and a line without a summit sends
    its joint any distance; here a step beyond the reach of the blur is not taken."""
    for file in readings(golden, 'dark'):
        step, reach = np.abs(2 * file.there - file.peaks), [dark_kernel(s) // 2 for s in file.codec.sigmas]
        exists = file.logarithm_exists() & file.positive[..., None]
        same, long = exists & (step <= reach), exists & (step > reach)
        assert same.mean() > 0.9
        np.testing.assert_allclose(file.keypoints[same], file.there[same], atol=1e-4)
        np.testing.assert_allclose(file.keypoints[long], file.peaks[long] / 2, atol=1e-6)
        assert np.isfinite(file.keypoints).all()
        np.testing.assert_allclose(file.scores, file.scores_there.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize('name', LOSSES)
def test_the_divergence_is_that_there_once_it_is_summed_over_the_pictures(golden, name):
    """There it is a sum over the pictures, so that a larger batch takes larger steps; here it is their mean."""
    values, inputs = golden / 'models_values.json', golden / 'losses_inputs.npz'
    if not (values.is_file() and inputs.is_file()):
        pytest.skip(f'no {values.name} or {inputs.name} in {golden}')
    with np.load(inputs) as content:
        px, py, gx, gy, weight = (torch.from_numpy(content[f'simcc_{n}']) for n in ('px', 'py', 'gx', 'gy', 'w'))
    loss, weighted = LOSSES[name]
    weights = weight if weighted else None
    here = len(px) * (loss(px, gx, weights) + loss(py, gy, weights))
    assert here.item() == pytest.approx(json.loads(values.read_text())['losses'][name], rel=1e-5)
