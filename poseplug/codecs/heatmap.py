"""Gaussian heatmaps, one map a joint (Tompson et al. 2014; sub-pixel centres: Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.drawing import cut_gaussians, fill_background, gaussians, merge, near
from poseplug.codecs.refine import dark_kernel, peaks, refine
from poseplug.errors import ConfigError, MismatchError
from poseplug.poses import Poses
from poseplug.registry import CODECS

CHOICES = {
    'people': ('max', 'add'),
    'missing': ('empty', 'ignore'),
    'outside': ('empty', 'ignore'),
    'refine': ('none', 'quarter', 'dark', 'taylor'),
}


@CODECS.register_module()
@dataclass(frozen=True)
class Heatmap(MapCodec):
    """Draw each joint as a Gaussian of peak 1 and read it back as the refined peak.

    `sigma` is in input pixels, like everything that is not said to be in cells. Cell g stands at input pixel
    `stride * g + offset`. Values below `cut` are drawn as 0. Several people share a map by `people`: 'max', or 'add'
    (capped at 1). `refine` places the peak between cells: 'none', 'quarter', 'dark' (blur of `kernel` cells, by
    default the one that belongs to sigma) or 'taylor'. A joint that is not labelled counts as an empty map with
    `missing='empty'`, and not at all with `missing='ignore'`; a labelled joint too far outside the input to reach any
    cell counts as an empty map with `outside='empty'`, and not at all with `outside='ignore'`.
    """

    offset: float = 0.0
    sigma: float = 8.0
    cut: float = 0.0
    people: Literal['max', 'add'] = 'max'
    background: bool = False
    missing: Literal['empty', 'ignore'] = 'ignore'
    outside: Literal['empty', 'ignore'] = 'ignore'
    refine: Literal['none', 'quarter', 'dark', 'taylor'] = 'quarter'
    kernel: int | None = None

    tolerance: ClassVar[float] = 4.25  # 3 px on both axes: the corner beyond the last cell

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f'{type(self).__name__}: {name} is one of {allowed}; got {getattr(self, name)!r}')
        if self.sigma <= 0 or self.stride <= 0:
            raise ConfigError(f'{type(self).__name__}: sigma and stride are positive; got {self.sigma}, {self.stride}')
        if self.kernel is not None and (self.kernel < 3 or self.kernel % 2 == 0):
            raise ConfigError(f'{type(self).__name__}: kernel is odd and at least 3; got {self.kernel}')

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton) + self.background}

    @property
    def grid(self) -> Grid:
        width, height = self.input_size
        return Grid((-(-width // self.stride), -(-height // self.stride)), self.input_size, self.stride, self.offset)

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        drawn = self.drawable(keypoints, labelled(visible, people))
        return Targets(({'heatmap': self.draw(keypoints, drawn)},), self.weigh(drawn))

    def drawable(self, keypoints: Tensor, known: Tensor) -> Tensor:
        """(B, N, K) which of the labelled joints are drawn and counted."""
        return known & near(keypoints, self.grid, self.sigma) if self.outside == 'ignore' else known

    def draw(self, keypoints: Tensor, drawn: Tensor) -> Tensor:
        """Joints (B, N, K, 2) and which to draw (B, N, K) to maps (B, C, H, W), with background where asked."""
        if self.cut:
            return cut_gaussians(keypoints, drawn, self.grid, self.sigma, self.cut, self.people, self.background)
        maps = merge(gaussians(keypoints, drawn, self.grid, self.sigma), self.people)
        return fill_background(F.pad(maps, (0, 0, 0, 0, 0, 1))) if self.background else maps

    def weigh(self, drawn: Tensor) -> dict[str, Tensor]:
        """The weight of every channel: 0 for a joint that nobody in the picture has labelled, if those are ignored."""
        if self.missing == 'empty':
            return {}
        weights = drawn.any(dim=1).float()
        return {'heatmap': F.pad(weights, (0, int(self.background)), value=1.0)}

    def decode(self, fields: Fields) -> Poses:
        maps = self.parts(fields['heatmap'])
        cells, values = peaks(maps)
        kernel = self.kernel or dark_kernel(self.sigma / self.stride)
        scores = values.clamp(0, 1)
        return Poses(
            keypoints=self.grid.pixels(refine(maps, cells, self.refine, kernel)),
            scores=scores,
            person_scores=scores.mean(dim=1),
            images=torch.arange(len(maps), device=maps.device),
        )

    def parts(self, maps: Tensor) -> Tensor:
        """The joints' maps, without the background, of a field on this codec's grid."""
        size = (maps.shape[-1], maps.shape[-2])
        if size != self.grid.size:
            raise MismatchError(
                f'{type(self).__name__} reads maps of {self.grid.size} cells from an input of {self.input_size} px, '
                f'both (width, height); these have {size}. Set model.codec.input_size to that of the pictures'
            )
        return maps[:, : len(self.skeleton)]


def labelled(visible: Tensor, people: Tensor | None) -> Tensor:
    """(B, N, K) the joints that have a position, of people who are real."""
    return visible > 0 if people is None else (visible > 0) & people[..., None]
