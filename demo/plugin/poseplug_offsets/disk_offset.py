"""A disk and an offset vector for each joint (Papandreou et al. 2017, arXiv:1701.01779, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, Grid, MapCodec, Targets
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class DiskOffset(MapCodec):
    """Say in which disk a joint lies, and from every cell of the disk point at it.

    'disk' has a map a joint: 1 in the cells within `radius` (input pixels) of it, 0 elsewhere. 'offset' has the x and
    then the y of every joint: the way from the cell to the joint in radii, 0 outside the disk. A joint lies between
    the cells exactly where its offsets say, so the grid costs no accuracy. Of several people, a cell means the nearest.

    Reading starts at the largest cell of the disk map: 'peak' follows its own offset; 'vote' takes the mean of where
    all cells within `radius` of it point, weighted by their disk values (the paper's Hough voting, about one peak).
    """

    stride: int = 8
    radius: float = 16.0
    read: Literal['peak', 'vote'] = 'vote'

    score: ClassVar[str] = 'largest disk value, clipped to 0..1'
    tolerance: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read not in ('peak', 'vote'):
            raise ConfigError(f"DiskOffset: read is 'peak' or 'vote'; got {self.read!r}")
        if self.stride < 1 or self.radius < self.stride * math.sqrt(0.5):
            raise ConfigError(
                f'DiskOffset: a disk of radius {self.radius} px may lie between cells {self.stride} px apart and hold '
                f'none; set radius to at least {math.ceil(self.stride * math.sqrt(0.5))}'
            )

    @property
    def fields(self) -> dict[str, int]:
        return {'disk': len(self.skeleton), 'offset': 2 * len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        width, height = self.input_size
        size = -(-width // self.stride), -(-height // self.stride)
        return Grid(size, self.input_size, self.stride, (self.stride - 1) / 2)

    def encode(self, keypoints: Tensor, visible: Tensor, people: Tensor | None = None) -> Targets:
        """Joints (B, N, K, 2) to disks (B, K, H, W) and offsets (B, 2K, H, W); unlabelled joints weigh nothing."""
        drawn = visible > 0 if people is None else (visible > 0) & people[..., None]
        x, y = nearest(torch.where(drawn[..., None], keypoints, math.inf), self.grid)
        disk = (x.square() + y.square() <= self.radius**2).to(keypoints)
        offset = torch.where(disk[:, None] > 0, torch.stack([x, y], dim=1) / self.radius, 0.0).flatten(1, 2)
        weight = drawn.any(dim=1).float()
        return Targets(({'disk': disk, 'offset': offset},), {'disk': weight, 'offset': weight.repeat(1, 2)})

    def decode(self, fields: Fields) -> Poses:
        disk, offset = (fields[name].float() for name in ('disk', 'offset'))
        scores, place = disk.flatten(2).max(dim=2)
        x, y = pointed_at(offset.unflatten(1, (2, -1)) * self.radius, self.grid)
        peak = [at.flatten(2).gather(2, place[..., None])[..., 0] for at in (x, y)]
        if self.read == 'vote':
            peak = vote(disk, (x, y), place, self.grid, self.radius)
        scores = scores.clamp(0, 1)
        images = torch.arange(len(disk), device=disk.device)
        return Poses(torch.stack(peak, dim=-1), scores, scores.mean(dim=1), images)

    @cached_property
    def mirror_channels(self) -> dict[str, list[int]]:
        swaps = self.skeleton.mirror.tolist()
        return {'disk': swaps, 'offset': swaps + [len(swaps) + joint for joint in swaps]}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """As for any field, and what pointed left points right, from a cell that lies elsewhere by part of a cell."""
        flipped = super().flip(fields)
        grid = self.grid
        moved = grid.inputs[0] - 1 - 2 * grid.offset - grid.stride * (grid.size[0] - 1 + grid.mirror_shift)
        x, y = flipped['offset'].chunk(2, dim=1)
        return {**flipped, 'offset': torch.cat([moved / self.radius - x, y], dim=1)}


def nearest(keypoints: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The way in x and in y from every cell to the nearest person's joint: (B, N, K, 2) to two (B, K, H, W).

    Infinite where there is nobody.
    """
    columns, rows = grid.axes(keypoints)
    x = (keypoints[..., 0, None] - columns)[..., None, :]
    y = (keypoints[..., 1, None] - rows)[..., :, None]
    if keypoints.shape[1] == 0:
        return (keypoints.new_full((len(x), x.shape[2], len(rows), len(columns)), math.inf),) * 2
    who = (x.square() + y.square()).argmin(dim=1, keepdim=True)
    x, y = x.take_along_dim(who, dim=1), y.take_along_dim(who, dim=1)
    return x[:, 0], y[:, 0]


def pointed_at(offset: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The input pixels that every cell points at: offsets (B, 2, K, H, W) in pixels to x and y, each (B, K, H, W)."""
    columns, rows = grid.axes(offset)
    return offset[:, 0] + columns, offset[:, 1] + rows[:, None]


def vote(disk: Tensor, targets: tuple[Tensor, Tensor], place: Tensor, grid: Grid, radius: float) -> list[Tensor]:
    """The mean x and y (B, K) of where the cells within `radius` px of the peak point, weighted by the disk."""
    columns, rows = grid.axes(disk)
    width = len(columns)
    dx = columns - columns[place % width][..., None]
    dy = rows - rows[place.div(width, rounding_mode='floor')][..., None]
    near = dx.square()[..., None, :] + dy.square()[..., :, None]
    weight = disk.clamp(min=0) * (near <= radius**2) + 1e-6 * (near == 0)  # the peak counts even where all is 0
    weight = weight.flatten(2)
    total = weight.sum(dim=2)
    return [(weight * target.flatten(2)).sum(dim=2) / total for target in targets]
