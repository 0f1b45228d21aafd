"""Gaussian heatmaps, one map a joint (Tompson et al. 2014; sub-pixel centres: Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.drawing import cut_gaussians, fill_background, gaussians, merge, near, nearest
from poseplug.codecs.refine import REFINES, blurred, dark_kernel, peaks, refine
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.registry import CODECS

CHOICES = {
    'people': ('subject', 'max', 'add'),
    'missing': ('empty', 'ignore'),
    'outside': ('empty', 'ignore'),
    'center': ('exact', 'cell'),
    'refine': REFINES,
}


@CODECS.register_module()
@dataclass(frozen=True)
class Heatmap(MapCodec):
    """Draw each joint as a Gaussian of peak 1 and read it back as the refined peak.

    `sigma` is in input pixels, like everything that is not said to be in cells. Cell g stands at input pixel
    `stride * g + offset`, or with `aligned` the cells reach from the first pixel to the last.

    The Gaussian stands at the joint's `center`: the 'exact' one, or its nearest 'cell'. Values below `cut` are drawn as
    0, or with `patch` those more than 3 sigma beside the nearest cell, in x or in y. Of the `people` in the picture the
    'subject' (person 0) alone is drawn, as crops of one person have it, or all, who share a map by 'max' or by 'add'
    (capped at 1).

    A joint that is not labelled counts as an empty map with `missing='empty'`, and not at all with `missing='ignore'`;
    a labelled joint too far outside the input to reach any cell counts as an empty map with `outside='empty'`, and not
    at all with `outside='ignore'`. A position that is no number is infinitely far outside.

    `refine` places the peak between cells: 'none', 'quarter', 'second', 'taylor', or 'dark' and 'udp' (blur of `kernel`
    cells, by default the one that belongs to sigma). With `smooth` all of it reads maps blurred by that many cells.
    """

    offset: float = 0.0
    aligned: bool = False
    sigma: float = 8.0
    center: Literal['exact', 'cell'] = 'exact'
    patch: bool = False
    cut: float = 0.0
    people: Literal['subject', 'max', 'add'] = 'subject'
    background: bool = False
    missing: Literal['empty', 'ignore'] = 'ignore'
    outside: Literal['empty', 'ignore'] = 'ignore'
    refine: Literal['none', 'quarter', 'second', 'dark', 'udp', 'taylor'] = 'quarter'
    kernel: int | None = None
    smooth: int | None = None

    tolerance: ClassVar[float] = 4.25  # 3 px on both axes: the corner beyond the last cell

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f'{type(self).__name__}: {name} is one of {allowed}; got {getattr(self, name)!r}')
        if self.sigma <= 0 or self.stride <= 0:
            raise ConfigError(f'{type(self).__name__}: sigma and stride are positive; got {self.sigma}, {self.stride}')
        for name in ('kernel', 'smooth'):
            check_kernel(self, name, getattr(self, name))
        if self.aligned and self.offset:
            raise ConfigError(
                f'{type(self).__name__}: an aligned grid starts at pixel 0; offset={self.offset:g} is idle'
            )
        if self.patch and self.cut:
            raise ConfigError(f'{type(self).__name__}: patch and cut both end the Gaussian; leave one of them out')
        self.grid  # noqa: B018 - fails here for an input of a single cell

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton) + self.background}

    @property
    def grid(self) -> Grid:
        if self.aligned:
            return Grid.aligned(self.input_size, self.stride)
        return Grid.of_stride(self.input_size, self.stride, self.offset)

    @property
    def spread(self) -> float:
        """Sigma in cells."""
        return self.sigma / self.stride

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        keypoints, known = self.shown(keypoints, labelled(visible, people))
        drawn = self.drawable(keypoints, known)
        return Targets(({'heatmap': self.draw(keypoints, drawn)},), self.weigh(drawn))

    def shown(self, keypoints: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, N, K, 2) and which are labelled (B, N, K), of the people who are drawn."""
        return (keypoints[:, :1], known[:, :1]) if self.people == 'subject' else (keypoints, known)

    def drawable(self, keypoints: Tensor, known: Tensor) -> Tensor:
        """(B, N, K) which of the labelled joints are drawn and counted."""
        if self.outside == 'empty':
            return known & torch.isfinite(keypoints).all(dim=-1)
        cells = self.grid.cells(keypoints)
        return known & near(nearest(cells) if self.patch else cells, self.grid.size, self.spread)

    def draw(self, keypoints: Tensor, drawn: Tensor) -> Tensor:
        """Joints (B, N, K, 2) and which to draw (B, N, K) to maps (B, C, H, W), with background where asked."""
        cells, size = self.grid.cells(keypoints), self.grid.size
        middle = nearest(cells)
        if self.center == 'cell':
            cells = middle
        if self.cut:
            return cut_gaussians(cells, drawn, size, self.spread, self.cut, self.people, self.background)
        maps = merge(gaussians(cells, drawn, size, self.spread, middle if self.patch else None), self.people)
        return fill_background(F.pad(maps, (0, 0, 0, 0, 0, 1))) if self.background else maps

    def weigh(self, drawn: Tensor) -> dict[str, Tensor]:
        """The weight of every channel: 0 for a joint that nobody in the picture has labelled, if those are ignored."""
        if self.missing == 'empty':
            return {}
        weights = drawn.any(dim=1).float()
        return {'heatmap': F.pad(weights, (0, int(self.background)), value=1.0)}

    def decode(self, fields: Fields) -> Poses:
        raw = self.sized(fields['heatmap'])[:, : len(self.skeleton)].contiguous()
        maps = blurred(raw, self.smooth) if self.smooth else raw
        cells, values = peaks(maps)
        places = refine(maps, cells, self.refine, self.kernel or dark_kernel(self.spread))
        if self.smooth:
            values = at(raw, cells)
        return one_person(self.grid.pixels(places), self.rate(values))

    def rate(self, values: Tensor) -> Tensor:
        """Scores between 0 and 1 of the maps' values at the peaks."""
        return values.clamp(0, 1)


def one_person(keypoints: Tensor, scores: Tensor) -> Poses:
    """The person of every picture, who scores the mean of the joints: (B, K, 2) and (B, K)."""
    images = torch.arange(len(scores), device=scores.device)
    return Poses(keypoints, scores, person_scores=scores.mean(dim=1), images=images)


def at(maps: Tensor, cells: Tensor) -> Tensor:
    """The values (B, K) of maps (B, K, H, W) at one cell each (B, K, 2; x, y)."""
    place = cells[..., 1] * maps.shape[-1] + cells[..., 0]
    return maps.flatten(2).gather(2, place[..., None])[..., 0]


def check_kernel(codec: MapCodec, name: str, kernel: int | None) -> None:
    """A blur has a middle cell."""
    if kernel is not None and (kernel < 3 or kernel % 2 == 0):
        raise ConfigError(f'{type(codec).__name__}: {name} is odd and at least 3; got {kernel}')


def labelled(visible: Tensor, people: Tensor | None) -> Tensor:
    """(B, N, K) the joints that have a position, of people who are real."""
    return visible > 0 if people is None else (visible > 0) & people[..., None]
