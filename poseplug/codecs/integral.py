"""Keypoints as the expectation of a distribution over a grid (Sun et al. 2018, arXiv:1711.08229)."""

from __future__ import annotations

__all__ = ['Integral']

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.codecs.heatmap import keypoints_to_poses
from poseplug.codecs.regression import denormalize_keypoints, flip_normalized_keypoints, normalize_keypoints
from poseplug.codecs.subject import select_subject
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_number
from poseplug.fields.gaussians import draw_gaussians
from poseplug.fields.grid import Grid
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class Integral(MapCodec):
    """The subject's keypoints, and distributions with these expectations, on a grid from the first pixel to the last.

    The field 'keypoints' (K, 2) holds fractions of the input, as in `Regression`, and is what is decoded. 'heatmap'
    (K, H, W) holds Gaussians of sum 1, which keep the distributions narrow (Nibali et al. 2018, arXiv:1801.07372). A
    keypoint outside the input counts in neither.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        sigma_px: standard deviation of the Gaussian in input pixels.
        match: 'mmpose' crops as MMPose does, puts cell g at `stride * g` px, so that the grid is not aligned, and gives
            every keypoint the score 1.

    Raises:
        ConfigError: if `sigma_px` or `stride` is not positive, or the grid has a single cell.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> Integral(COCO, input_size=(192, 256)).shapes
        {'heatmap': (17, 64, 48), 'keypoints': (17, 2)}
    """

    sigma_px: float = 8.0

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    score_meaning: ClassVar[str] = "peak of the keypoint's distribution, as a fraction of the target's, clipped to 0..1"
    gives: ClassVar[tuple[str, ...]] = (*MapCodec.gives, 'aligned')
    tolerance: ClassVar[float] = 0.01
    field_kind: ClassVar[str] = 'integral'

    def __post_init__(self) -> None:
        super().__post_init__()
        self.grid  # noqa: B018 - fails here for an input of a single cell
        check_number('Integral', 'sigma_px', self.sigma_px, 0, max(self.input_size), above=True)

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton), 'keypoints': len(self.skeleton)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes, 'keypoints': (len(self.skeleton), 2)}

    @property
    def aligned(self) -> bool:
        """Whether the first and the last cell stand on the first and the last pixel."""
        return self.match == 'poseplug'

    @property
    def grid(self) -> Grid:
        build_grid = Grid.from_corners if self.aligned else Grid.from_stride
        return build_grid(self.input_size, self.stride)

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        keypoints, labeled = select_subject(keypoints, visible, valid)
        points, inside = normalize_keypoints(keypoints, labeled, self.input_size)
        # Divided by the sum over the grid: a Gaussian at the border has a part of its mass outside.
        gaussians = draw_gaussians(self.grid.to_cells(keypoints), inside, self.grid.size, self.sigma_px / self.stride)
        mass = gaussians.sum(dim=(2, 3), keepdim=True)
        fields = {'heatmap': gaussians / mass.clamp(min=1e-12), 'keypoints': points}
        weight = inside.float()
        return Targets((fields,), {'heatmap': weight, 'keypoints': weight})

    def decode(self, fields: Fields) -> Poses:
        """Decode fractions (B, K, 2), scored by the heatmaps (B, K, H, W), to one instance per image."""
        peaks = self.check_grid_size(fields['heatmap']).flatten(2).amax(dim=2)
        keypoints = denormalize_keypoints(fields['keypoints'], self.input_size)
        if self.match == 'mmpose':
            return keypoints_to_poses(keypoints, torch.ones_like(peaks))
        # Squared: a Gaussian of two axes is the product of one along each.
        scores = (peaks / unit_sum_gaussian_peak(self.sigma_px / self.stride) ** 2).clamp(0, 1)
        return keypoints_to_poses(keypoints, scores)

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input."""
        exchanged = {name: field[:, self.flip_channels[name]] for name, field in fields.items()}
        return {
            'heatmap': self._flip_maps(exchanged['heatmap']),
            'keypoints': flip_normalized_keypoints(exchanged['keypoints'], self.input_size),
        }


def unit_sum_gaussian_peak(sigma_cells: float) -> float:
    """Return the largest value of a Gaussian centered in a cell of a line, whose sum over all cells is 1."""
    # Farther than 8 sigma a Gaussian is below 2e-14 of its peak.
    reach = math.ceil(8 * sigma_cells)
    return 1 / sum(math.exp(-(n**2) / (2 * sigma_cells**2)) for n in range(-reach, reach + 1))
