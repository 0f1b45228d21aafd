"""Unbiased data processing: maps, or disks with offsets, on an aligned grid (Huang et al. 2020, arXiv:1911.07524)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.codecs.heatmap import CHOICES, Heatmap, at, check_kernel, labelled, one_person
from poseplug.codecs.refine import blurred, peaks
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class UDPHeatmap(Heatmap):
    """A Gaussian around the exact joint, within 3 sigma, on a grid from the first pixel to the last."""

    aligned: bool = True
    patch: bool = True
    refine: Literal['none', 'quarter', 'second', 'dark', 'udp', 'taylor'] = 'udp'

    tolerance: ClassVar[float] = 4.0  # at the border, where the published read-out leaves the map; inside 0.02


@CODECS.register_module()
@dataclass(frozen=True)
class UDPCombined(MapCodec):
    """A disk around every joint, and in it the way to the joint, on a grid from the first pixel to the last.

    'heatmap' (K) is 1 on the disk; 'offset' (2 K; x and y of each joint in turn) is in radii of it and counts on the
    disk alone. `radius` is the disk's, as a share of the grid's longer side. To read them, the disk is blurred by
    `kernel` cells, and the offset at its peak is followed. A labelled joint too far outside for a disk counts as an
    empty map with `outside='empty'`, as published, and not at all with `outside='ignore'`; a position that is no number
    is infinitely far outside. Of the `people` in the picture the 'subject' alone counts, or of all of them each cell
    belongs to the 'nearest'.
    """

    radius: float = 0.0546875
    kernel: int = 23
    outside: Literal['empty', 'ignore'] = 'empty'
    people: Literal['subject', 'nearest'] = 'subject'

    tolerance: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel(self, 'kernel', self.kernel)
        if self.outside not in CHOICES['outside']:
            raise ConfigError(f'UDPCombined: outside is one of {CHOICES["outside"]}; got {self.outside!r}')
        if self.people not in ('subject', 'nearest'):
            raise ConfigError(f"UDPCombined: people is 'subject' or 'nearest'; got {self.people!r}")
        if self.reach < 1:
            raise ConfigError(
                f'UDPCombined: a disk of {self.reach:.3g} cells may lie between them; set radius to at least '
                f'{1 / max(self.grid.size):.3g} of {max(self.grid.size)} cells'
            )

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton), 'offset': 2 * len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        return Grid.aligned(self.input_size, self.stride)

    @property
    def reach(self) -> float:
        """The disk's radius in cells."""
        return self.radius * max(self.grid.size)

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        known = labelled(visible, people)
        if self.people == 'subject':
            keypoints, known = keypoints[:, :1], known[:, :1]
        if not known.shape[1]:
            keypoints, known = F.pad(keypoints, (0, 0, 0, 0, 0, 1)), F.pad(known, (0, 0, 0, 1))  # somebody unlabelled
        disk, across, down = self.nearest(*self.ways(keypoints, known))
        offset = torch.stack([across, down], dim=2).flatten(1, 2)
        counts = disk.flatten(2).amax(dim=2) if self.outside == 'ignore' else known.any(dim=1).float()
        weights = {'heatmap': counts, 'offset': disk.repeat_interleave(2, dim=1)}
        return Targets(({'heatmap': disk, 'offset': offset},), weights)

    def ways(self, keypoints: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From every cell to every joint, in radii: across (B, N, K, 1, W), down (B, N, K, H, 1); and who has one.

        Both are 0 for a joint that is not known or has no position.
        """
        placed = known & torch.isfinite(keypoints).all(dim=-1)
        cells = torch.where(placed[..., None], self.grid.cells(keypoints), 0.0)
        x, y = (torch.arange(n, dtype=cells.dtype, device=cells.device) for n in self.grid.size)
        across, down = ((cells[..., i, None] - n) * placed[..., None] / self.reach for i, n in enumerate((x, y)))
        return across[..., None, :], down[..., :, None], placed

    @staticmethod
    def nearest(across: Tensor, down: Tensor, placed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `ways` gives to the disks of all people and the ways to the nearest, each (B, K, H, W)."""
        far = across.square() + down.square()
        disk = ((far <= 1) & placed[..., None, None]).float()
        ways = torch.broadcast_tensors(across, down)
        if placed.shape[1] == 1:
            return disk[:, 0], ways[0][:, 0], ways[1][:, 0]
        first = torch.where(placed[..., None, None], far, torch.inf).argmin(dim=1, keepdim=True)
        return disk.amax(dim=1), ways[0].gather(1, first)[:, 0], ways[1].gather(1, first)[:, 0]

    def decode(self, fields: Fields) -> Poses:
        disks = blurred(self.sized(fields['heatmap']), self.kernel, mirror=True)
        cells, values = peaks(disks)
        ways = [at(fields['offset'][:, axis::2], cells) for axis in (0, 1)]
        places = cells + self.reach * torch.stack(ways, dim=-1)
        return one_person(self.grid.pixels(places), values.clamp(0, 1))

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        swaps = self.skeleton.mirror.tolist()
        return {'heatmap': swaps, 'offset': [2 * k + axis for k in swaps for axis in (0, 1)]}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        flipped = super().flip(fields)
        flipped['offset'] = torch.stack([-flipped['offset'][:, ::2], flipped['offset'][:, 1::2]], dim=2).flatten(1, 2)
        return flipped
