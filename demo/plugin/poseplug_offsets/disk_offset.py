"""A disk and an offset vector for each keypoint (Papandreou et al. 2017, arXiv:1701.01779, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.fields.grid import Grid


@dataclass(frozen=True)
class DiskOffset(MapCodec):
    """A codec of disks around the keypoints, and of offsets from the cells of a disk to its keypoint.

    The field 'disk' has one map per keypoint: 1 in the cells within `radius` of it, 0 elsewhere. The field 'offset' has
    the x and then the y of every keypoint: the offset from the cell to the keypoint in radii, 0 outside the disk. The
    offsets are not bound to the cells, so the grid costs no accuracy. Where the disks of several instances overlap, a
    cell points at the nearest keypoint.

    Args:
        skeleton: The keypoints.
        input_size: (width, height) of the network's input in pixels.
        stride: Input pixels per cell.
        radius: Radius of the disk in input pixels.
        read: How a keypoint is decoded at the highest-scoring cell of its disk map: 'peak' follows the offset of that
            cell; 'vote' takes the mean of the positions that all cells within `radius` of it point at, weighted by
            their disk values (the paper's Hough voting, around one peak).

    Example:
        >>> import torch
        >>> from poseplug.testing import SINGLE_KEYPOINT_SKELETON
        >>> codec = DiskOffset(SINGLE_KEYPOINT_SKELETON, (64, 48))
        >>> targets = codec.encode(torch.tensor([[[[20.0, 30.0]]]]), torch.ones(1, 1, 1))
        >>> codec.decode(targets.stages[-1]).keypoints.round(decimals=2)
        tensor([[[20., 30.]]])
    """

    stride: int = 8
    radius: float = 16.0
    read: Literal['peak', 'vote'] = 'vote'

    score_meaning: ClassVar[str] = 'largest disk value, clipped to 0..1'
    tolerance: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read not in ('peak', 'vote'):
            raise ConfigError(f"DiskOffset: read is 'peak' or 'vote'; got {self.read!r}")
        # Half the diagonal of a cell: a smaller disk may hold no cell's position.
        min_radius = self.stride * math.sqrt(0.5)
        if self.stride < 1 or self.radius < min_radius:
            raise ConfigError(
                f'DiskOffset: a disk of radius {self.radius} px may lie between cells {self.stride} px apart and hold '
                f'none of them; set radius to at least {math.ceil(min_radius)}'
            )

    @property
    def fields(self) -> dict[str, int]:
        return {'disk': len(self.skeleton), 'offset': 2 * len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        width, height = self.input_size
        size = -(-width // self.stride), -(-height // self.stride)
        return Grid(size, self.input_size, self.stride, (self.stride - 1) / 2)

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        """Encode keypoints as disks and offsets; unlabeled keypoints have weight 0.

        Args:
            keypoints: (B, N, K, 2) input pixels.
            visible: (B, N, K) above 0 where labeled.
            valid: (B, N) False where an instance is padding; all are valid by default.

        Returns:
            Fields 'disk' (B, K, H, W) and 'offset' (B, 2K, H, W), with weights per channel.
        """
        labeled = visible > 0 if valid is None else (visible > 0) & valid[..., None]
        x, y = nearest_displacements(torch.where(labeled[..., None], keypoints, math.inf), self.grid)
        disk = (x.square() + y.square() <= self.radius**2).to(keypoints)
        displacements = torch.stack([x, y], dim=1) / self.radius
        offset = torch.where(disk[:, None] > 0, displacements, 0.0).flatten(1, 2)
        weight = labeled.any(dim=1).float()
        return Targets(({'disk': disk, 'offset': offset},), {'disk': weight, 'offset': weight.repeat(1, 2)})

    def decode(self, fields: Fields) -> Poses:
        disk, offset = (fields[name].float() for name in ('disk', 'offset'))
        scores, peak_indices = disk.flatten(2).max(dim=2)
        x, y = offsets_to_positions(offset.unflatten(1, (2, -1)) * self.radius, self.grid)
        if self.read == 'vote':
            keypoints = vote_around_peaks(disk, (x, y), peak_indices, self.grid, self.radius)
        else:
            keypoints = [position.flatten(2).gather(2, peak_indices[..., None])[..., 0] for position in (x, y)]
        scores = scores.clamp(0, 1)
        image_indices = torch.arange(disk.shape[0], device=disk.device)
        return Poses(torch.stack(keypoints, dim=-1), scores, scores.mean(dim=1), image_indices)

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        flipped = self.skeleton.flip_indices.tolist()
        return {'disk': flipped, 'offset': flipped + [len(flipped) + index for index in flipped]}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Flip as any codec of maps, negate x, and correct it where flipped cells lie beside the original ones."""
        flipped = super().flip(fields)
        grid = self.grid
        residual_px = grid.input_size[0] - 1 - 2 * grid.offset - grid.stride * (grid.size[0] - 1 + grid.flip_shift)
        x, y = flipped['offset'].chunk(2, dim=1)
        return {**flipped, 'offset': torch.cat([residual_px / self.radius - x, y], dim=1)}


def nearest_displacements(keypoints: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Compute the displacement from every cell to the nearest instance's keypoint.

    Args:
        keypoints: (B, N, K, 2) input pixels; infinite where there is no keypoint.
        grid: The cells.

    Returns:
        x and y in input pixels, each (B, K, H, W); infinite where there is no keypoint.
    """
    columns, rows = grid.axis_pixels(keypoints)
    x = (keypoints[..., 0, None] - columns)[..., None, :]
    y = (keypoints[..., 1, None] - rows)[..., :, None]
    if keypoints.shape[1] == 0:
        return (keypoints.new_full((len(x), x.shape[2], len(rows), len(columns)), math.inf),) * 2
    nearest = (x.square() + y.square()).argmin(dim=1, keepdim=True)
    x, y = x.take_along_dim(nearest, dim=1), y.take_along_dim(nearest, dim=1)
    return x[:, 0], y[:, 0]


def offsets_to_positions(offset: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Convert offsets to the positions that the cells point at.

    Args:
        offset: (B, 2, K, H, W) input pixels.
        grid: The cells.

    Returns:
        x and y in input pixels, each (B, K, H, W).
    """
    columns, rows = grid.axis_pixels(offset)
    return offset[:, 0] + columns, offset[:, 1] + rows[:, None]


def vote_around_peaks(
    disk: Tensor, positions: tuple[Tensor, Tensor], peak_indices: Tensor, grid: Grid, radius: float
) -> list[Tensor]:
    """Average the positions that the cells around the peaks point at, weighted by the disk.

    Args:
        disk: (B, K, H, W).
        positions: x and y in input pixels, each (B, K, H, W).
        peak_indices: (B, K) indices of the peaks in the flattened maps.
        grid: The cells.
        radius: Input pixels around a peak within which cells vote.

    Returns:
        x and y in input pixels, each (B, K).
    """
    columns, rows = grid.axis_pixels(disk)
    width = len(columns)
    dx = columns - columns[peak_indices % width][..., None]
    dy = rows - rows[peak_indices.div(width, rounding_mode='floor')][..., None]
    squared_distances = dx.square()[..., None, :] + dy.square()[..., :, None]
    weight = disk.clamp(min=0) * (squared_distances <= radius**2)
    weight = weight + 1e-6 * (squared_distances == 0)  # the peak votes even where the whole disk is 0
    weight = weight.flatten(2)
    total = weight.sum(dim=2)
    return [(weight * position.flatten(2)).sum(dim=2) / total for position in positions]
