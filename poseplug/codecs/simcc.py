"""Keypoints as two classifications, of the column and of the row (SimCC: Li et al. 2022, arXiv:2107.03332)."""

from __future__ import annotations

__all__ = ['SimCC']

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.base import Codec, Fields, Targets
from poseplug.codecs.heatmap import keypoints_to_poses
from poseplug.codecs.integral import unit_sum_gaussian_peak
from poseplug.codecs.subject import select_subject
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_counts, check_number
from poseplug.fields.blur import dark_kernel_size, gaussian_blur_weights
from poseplug.fields.gaussians import gaussian_inplace
from poseplug.registry import CODECS

_MAX_SPLIT_RATIO = 16  # bins per pixel: papers use up to 3


@CODECS.register_module()
@dataclass(frozen=True)
class SimCC(Codec):
    """The subject's keypoints as distributions over bins of x and of y; bin b stands at pixel b / simcc_split_ratio.

    The fields 'x' and 'y' have one line of bins per keypoint. A keypoint farther outside the input than 3 sigma on
    either axis ('standard': outside at all) does not count in the loss.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        simcc_split_ratio: bins per pixel, a whole number.
        smoothing_type: 'gaussian' targets, or 'standard' ones, which are one-hot with smoothed labels.
        sigma: standard deviation of 'gaussian' targets in bins; one number, or one for x and one for y.
        normalize: scale 'gaussian' targets to a sum of 1 instead of a peak of 1.
        label_smooth_weight: fraction of the mass of 'standard' targets that the other bins have.
        center: where 'gaussian' targets stand: in the nearest 'bin', as published, or at the 'exact' position.
        refine: 'dark' refines the maximum between the bins.
        from_logits: whether the fields are decoded through a softmax, as the loss `KLDivergence` trains them; scores
            are then fractions of the highest probability that a target has.
        match: 'mmpose' crops as MMPose does, reads the fields without a softmax, keeps scores as they are, puts a
            keypoint without a positive bin in bin -1, flips all bins, also those beyond the last pixel, and lets 'dark'
            take a step of any length.

    Raises:
        ConfigError: for a setting that has no meaning, or that another one makes meaningless.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> SimCC(COCO, input_size=(192, 256)).shapes
        {'x': (17, 384), 'y': (17, 512)}
    """

    simcc_split_ratio: int = 2
    smoothing_type: Literal['gaussian', 'standard'] = 'gaussian'
    # For 192 x 256 px at 2 bins per pixel; RTMPose has (4.9, 5.66) there.
    sigma: float | tuple[float, float] = 6.0
    normalize: bool = True
    label_smooth_weight: float = 0.0
    center: Literal['bin', 'exact'] = 'bin'
    refine: Literal['none', 'dark'] = 'none'
    from_logits: bool = False

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    score_meaning: ClassVar[str] = 'the smaller of the maxima in x and y, clipped to 0..1'
    tolerance: ClassVar[float] = 0.71  # half a pixel on both axes with one bin per pixel; less with more
    field_kind: ClassVar[str] = 'bins'

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sigma, (int, float)):
            object.__setattr__(self, 'sigma', tuple(self.sigma))
        check_counts('SimCC', simcc_split_ratio=self.simcc_split_ratio)
        check_number('SimCC', 'simcc_split_ratio', self.simcc_split_ratio, 1, _MAX_SPLIT_RATIO)
        if len(self.sigmas_bins) != 2:
            raise ConfigError(f'SimCC: sigma is positive, one number or one for x and one for y; got {self.sigma}')
        max_sigma = self.simcc_split_ratio * max(self.input_size)
        for sigma in self.sigmas_bins:
            check_number('SimCC', 'sigma', sigma, 0, max_sigma, above=True)
        check_number('SimCC', 'label_smooth_weight', self.label_smooth_weight, 0, 1, below=True)
        if self.label_smooth_weight and self.smoothing_type != 'standard':
            raise ConfigError(
                "SimCC: label_smooth_weight changes nothing here; leave it out, or set smoothing_type='standard'"
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: (len(self.skeleton), count) for name, count in zip('xy', self.num_bins, strict=True)}

    @property
    def sigmas_bins(self) -> tuple[float, ...]:
        """Standard deviations in bins in x and in y."""
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)

    @property
    def flip_shift(self) -> int:
        """Bins to shift a flipped line to the right so that it lies on the line of the input.

        There are `simcc_split_ratio - 1` bins beyond the last pixel, and none before the first.
        """
        return 0 if self.match == 'mmpose' else 1 - self.simcc_split_ratio

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        keypoints, mask = select_subject(keypoints, visible, valid)
        bins = keypoints * self.simcc_split_ratio
        if self.center == 'bin' or self.smoothing_type == 'standard':
            # Halves go to the even bin, as by NumPy's `around` in the released code.
            bins = bins.round()
        axes = list(zip(bins.unbind(-1), self.num_bins, self.sigmas_bins, strict=True))
        for position, count, sigma in axes:
            # One bin more before the first pixel than behind the last one, as in the released code.
            before, behind = (3 * sigma + 1, 3 * sigma) if self.smoothing_type == 'gaussian' else (0.0, 0.0)
            mask = mask & (position + before >= 0) & (position - behind < count)
        fields = {name: self.encode_axis(*axis) * mask[..., None] for name, axis in zip('xy', axes, strict=True)}
        weight = mask.float()
        return Targets((fields,), {'x': weight, 'y': weight})

    @property
    def num_bins(self) -> tuple[int, int]:
        """Number of bins in x and in y."""
        return self.input_size[0] * self.simcc_split_ratio, self.input_size[1] * self.simcc_split_ratio

    def encode_axis(self, positions: Tensor, num_bins: int, sigma_bins: float) -> Tensor:
        """Return the distributions (B, K, num_bins) around positions (B, K) in bins."""
        distance = torch.arange(num_bins, dtype=positions.dtype, device=positions.device) - positions[..., None]
        if self.smoothing_type == 'standard':
            # The mass that the keypoint's own bin gives away, divided among all others.
            other_bins = self.label_smooth_weight / max(num_bins - 1, 1)
            return torch.where(distance == 0, 1 - self.label_smooth_weight, other_bins)
        gaussian = gaussian_inplace(distance, sigma_bins)
        return gaussian / (sigma_bins * (2 * np.pi) ** 0.5) if self.normalize else gaussian

    def decode(self, fields: Fields) -> Poses:
        """Decode lines of bins (B, K, bins) of x and of y to one instance per image, in input pixels."""
        positions, scores = [], []
        is_softmax = self.from_logits and self.match != 'mmpose'  # MMPose scores by the raw maxima
        for name, sigma in zip('xy', self.sigmas_bins, strict=True):
            line = fields[name].softmax(dim=-1) if is_softmax else fields[name]
            value, index = line.max(dim=-1)
            step = self._refine_bins(line, index, sigma) if self.refine == 'dark' else 0
            positions.append(index + step)
            scores.append(value / self.max_target_probability(sigma) if is_softmax else value)
        bins, score = torch.stack(positions, dim=-1), torch.minimum(*scores)
        if self.match == 'mmpose':
            bins = torch.where((score > 0)[..., None], bins, -1)
        else:
            score = score.clamp(0, 1)
        return keypoints_to_poses(bins / self.simcc_split_ratio, score)

    def _refine_bins(self, lines: Tensor, bins: Tensor, sigma_bins: float) -> Tensor:
        """The offsets (B, K) in bins of the maxima (B, K) of lines (B, K, n) to those between the bins."""
        kernel_size = dark_kernel_size(sigma_bins)
        max_step = math.inf if self.match == 'mmpose' else kernel_size // 2
        return _dark_step_1d(lines, bins, kernel_size, max_step)

    def max_target_probability(self, sigma_bins: float) -> float:
        """Return the probability of the keypoint's own bin in a target."""
        return 1 - self.label_smooth_weight if self.smoothing_type == 'standard' else unit_sum_gaussian_peak(sigma_bins)

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the lines of a flipped input to those of the input."""
        x, y = (fields[name][:, self.flip_channels[name]] for name in 'xy')
        x, num_spare = x.flip(-1), -self.flip_shift  # the bins beyond the last pixel keep their values
        return {'x': torch.cat([x[..., num_spare:], x[..., x.shape[-1] - num_spare :]], dim=-1), 'y': y}

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        return dict.fromkeys('xy', self.skeleton.flip_indices.tolist())


def _dark_step_1d(lines: Tensor, bins: Tensor, kernel_size: int, max_step: float) -> Tensor:
    """DARK's offset (B, K) in bins: smoothing by a Gaussian, then -f'/f'' of the logarithm.

    Of lines (B, K, n) and their maxima (B, K). The second difference takes steps of two bins. Beyond the ends the
    smoothed line repeats its outermost bins. A step longer than `max_step`, where a line has no summit, is not taken.
    """
    smooth = _smooth_around_maxima(lines, bins, kernel_size)
    top = lines.gather(-1, bins[..., None])
    f = (smooth * (top / smooth.amax(dim=-1, keepdim=True).clamp(min=1e-10))).clamp(1e-3, 50.0).log()
    steps = torch.arange(-2, 3, device=bins.device)
    inside_bins = (bins[..., None] + steps).clamp(0, lines.shape[-1] - 1)
    before_2, before, middle, after, after_2 = f.gather(-1, 2 + inside_bins - bins[..., None]).unbind(-1)
    curve = (after_2 - 2 * middle + before_2) / 4
    step = (before - after) / (2 * torch.where(curve == 0, 1.0, curve))
    return torch.where((curve != 0) & (step.abs() <= max_step), step, 0.0).float()


def _smooth_around_maxima(lines: Tensor, bins: Tensor, kernel_size: int) -> Tensor:
    """The five blurred bins around each index (B, K) of lines (B, K, n): (B, K, 5), in double precision."""
    reach = kernel_size // 2 + 2
    near = bins[..., None] + torch.arange(-reach, reach + 1, device=bins.device)
    values = lines.gather(-1, near.clamp(0, lines.shape[-1] - 1))
    padded = torch.where((near >= 0) & (near < lines.shape[-1]), values, 0.0)
    return padded.double() @ torch.from_numpy(_five_bin_blur_matrix(kernel_size)).to(lines.device)


@lru_cache(maxsize=16)
def _five_bin_blur_matrix(kernel_size: int) -> np.ndarray:
    """The matrix (kernel_size + 4, 5) that blurs a piece of a line to its five middle bins."""
    return np.stack([np.pad(gaussian_blur_weights(kernel_size), (i, 4 - i)) for i in range(5)], axis=1)
