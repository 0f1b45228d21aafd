"""Joints as the expectation of a distribution over a grid (Sun et al. 2018, arXiv:1711.08229)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.drawing import gaussians
from poseplug.codecs.heatmap import one_person
from poseplug.codecs.regression import mirrored, pixels, shares
from poseplug.codecs.subject import subject
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class Integral(MapCodec):
    """The subject's joints, and the distributions that expect them, on a grid from the first pixel to the last.

    'keypoints' (K, 2) are shares of the input, as in `Regression`, and are what is read. 'heatmap' (K, H, W) are
    Gaussians of sum 1 and of `sigma` input pixels, which keep the distributions narrow (Nibali et al. 2018,
    arXiv:1801.07372). A joint outside the input counts in neither.
    """

    sigma: float = 8.0

    score: ClassVar[str] = "peak of the joint's distribution, as a share of the target's in a cell, clipped to 0..1"
    tolerance: ClassVar[float] = 0.01
    kind: ClassVar[str] = 'integral'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma <= 0 or self.stride <= 0:
            raise ConfigError(f'Integral: sigma and stride are positive; got {self.sigma}, {self.stride}')
        self.grid  # noqa: B018 - fails here for an input of a single cell

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton), 'keypoints': len(self.skeleton)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes, 'keypoints': (len(self.skeleton), 2)}

    @property
    def grid(self) -> Grid:
        return Grid.aligned(self.input_size, self.stride)

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        joints, placed = subject(keypoints, visible, people)
        points, inside = shares(joints, placed, self.input_size)
        maps = gaussians(self.grid.cells(joints), inside, self.grid.size, self.sigma / self.stride)
        mass = maps.sum(dim=(2, 3), keepdim=True)
        weight = inside.float()
        return Targets(
            ({'heatmap': maps / mass.clamp(min=1e-12), 'keypoints': points},),
            {'heatmap': weight, 'keypoints': weight},
        )

    def decode(self, fields: Fields) -> Poses:
        peaks = self.sized(fields['heatmap']).flatten(2).amax(dim=2)
        scores = (peaks / peak_of_sum_1(self.sigma / self.stride) ** 2).clamp(0, 1)
        return one_person(pixels(fields['keypoints'], self.input_size), scores)

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        swapped = {name: field[:, self.mirror_channels[name]] for name, field in fields.items()}
        return {
            'heatmap': self._flip(swapped['heatmap']),
            'keypoints': mirrored(swapped['keypoints'], self.input_size),
        }


def peak_of_sum_1(sigma: float) -> float:
    """The largest value of a Gaussian of `sigma` cells that stands in a cell of a line and sums to 1 over all cells."""
    reach = math.ceil(8 * sigma)
    return 1 / sum(math.exp(-(n**2) / (2 * sigma**2)) for n in range(-reach, reach + 1))
