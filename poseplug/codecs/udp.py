"""Unbiased data processing: heatmaps, or disks and offsets, on aligned grids (Huang et al. 2020, arXiv:1911.07524)."""

from __future__ import annotations

__all__ = ['UDPCombined', 'UDPHeatmap']

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.codecs.heatmap import (
    Heatmap,
    choose_map_crop_rule,
    gather_at_cells,
    keypoints_to_poses,
    labeled_mask,
)
from poseplug.codecs.subject import ensure_instance
from poseplug.codecs.vector_channels import list_vector_channels, name_vector_channels, negate_x
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import CropRule
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_kernel_sizes, check_number
from poseplug.fields.blur import blur_heatmaps
from poseplug.fields.grid import Grid
from poseplug.fields.refine import get_heatmap_maximum
from poseplug.registry import CODECS

_KERNEL_SIZE = 23  # MMPose's, of 11 cells on either side
_OFFICIAL_KERNEL_SIZE, _OFFICIAL_OFFSET_KERNEL_SIZE = 15, 7  # of UDP-Pose


@CODECS.register_module()
@dataclass(frozen=True)
class UDPHeatmap(Heatmap):
    """A Gaussian around the exact keypoint, within 3 sigma, on a grid from the first pixel to the last.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride, offset, aligned, sigma_px, center, truncate, min_value, instances, background, unlabeled, outside,
            refine, blur_kernel_size, modulate, rescale, smoothing_kernel_size: as in `Heatmap`.
        match: as in `Heatmap`; 'official' is UDP-Pose, which smooths by 7 cells, reflects what lies beyond the border
            and stretches the smoothed values from 0 to the peak.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> UDPHeatmap(COCO, input_size=(192, 256)).grid.flip_shift
        0
    """

    aligned: bool = True
    truncate: bool = True
    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'udp'

    @property
    def refinement_kernel_size(self) -> int:
        is_default = self.match == 'official' and not self.blur_kernel_size
        return _OFFICIAL_OFFSET_KERNEL_SIZE if is_default else super().refinement_kernel_size

    tolerance: ClassVar[float] = 4.0  # at the border, where the published read-out leaves the map; inside 0.02


@CODECS.register_module()
@dataclass(frozen=True)
class UDPCombined(MapCodec):
    """A disk around every keypoint, and in it the offset to the keypoint, on a grid from the first pixel to the last.

    The field 'heatmap' (K channels) is 1 on the disk. 'offset' (2 K channels, x and y of each keypoint in turn) is in
    radii of the disk and counts in the loss on the disk alone. Decoding blurs the disk and adds the offset at its peak.
    A keypoint whose position is not a finite number counts as far outside the input.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        radius_factor: radius of the disk, as a fraction of the grid's longer side.
        blur_kernel_size: odd size of the blur of the disks in cells; 23 by default, 15 in UDP-Pose.
        offset_blur_kernel_size: odd size of a blur of the offsets in cells; by default none, 7 in UDP-Pose.
        outside: whether a labeled keypoint too far outside for a disk counts as an 'empty' map, as published, or the
            loss is to 'ignore' it.
        instances: which instances of an image are drawn: the 'subject' alone, that is instance 0, the one a crop is
            about; or all, and each cell belongs to the 'nearest'.
        match: as in `Heatmap`; 'official' is UDP-Pose.

    Raises:
        ConfigError: for a setting that has no meaning, or a disk that may lie between the cells.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> UDPCombined(COCO, input_size=(192, 256)).fields
        {'heatmap': 17, 'offset': 34}
    """

    # 3.5 of 64 cells, as published.
    radius_factor: float = 0.0546875
    blur_kernel_size: int | None = None
    offset_blur_kernel_size: int | None = None
    outside: Literal['empty', 'ignore'] = 'empty'
    instances: Literal['subject', 'nearest'] = 'subject'

    matches: ClassVar[tuple[str, ...]] = Heatmap.matches
    tolerance: ClassVar[float] = 0.01
    aligned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ('blur_kernel_size', 'offset_blur_kernel_size'):
            if getattr(self, name) is not None:
                check_kernel_sizes('UDPCombined', **{name: getattr(self, name)})
        check_number('UDPCombined', 'radius_factor', self.radius_factor, 0, 1, above=True)
        if self.radius_cells < 1:
            longer_side = max(self.grid.size)
            raise ConfigError(
                f'UDPCombined: a disk of {self.radius_cells:.3g} cells may lie between them; set radius_factor to at '
                f'least {1 / longer_side:.3g} of {longer_side} cells'
            )

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton), 'offset': 2 * len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        return Grid.from_corners(self.input_size, self.stride)

    @property
    def crop_rule(self) -> CropRule:
        return choose_map_crop_rule(self.match, self.aligned)

    @property
    def radius_cells(self) -> float:
        """Radius of the disk in cells."""
        return self.radius_factor * max(self.grid.size)

    def encode(self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None) -> Targets:
        labeled = labeled_mask(visible, valid)
        if self.instances == 'subject':
            keypoints, labeled = keypoints[:, :1], labeled[:, :1]
        keypoints, labeled = ensure_instance(keypoints, labeled)
        disk, x_offset, y_offset = self.select_nearest(*self.compute_offsets(keypoints, labeled))
        offset = torch.stack([x_offset, y_offset], dim=2).flatten(1, 2)
        counts = disk.flatten(2).amax(dim=2) if self.outside == 'ignore' else labeled.any(dim=1).float()
        weights = {'heatmap': counts, 'offset': disk.repeat_interleave(2, dim=1)}
        return Targets(({'heatmap': disk, 'offset': offset},), weights)

    def compute_offsets(self, keypoints: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the offset from every cell to every keypoint, in radii.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            labeled: (B, N, K) bool.

        Returns:
            x (B, N, K, 1, W) and y (B, N, K, H, 1), both 0 for a keypoint that is not labeled or has no finite
            position, and which keypoints (B, N, K) are drawn.
        """
        mask = labeled & torch.isfinite(keypoints).all(dim=-1)
        cells = torch.where(mask[..., None], self.grid.to_cells(keypoints), 0.0)
        columns, rows = (torch.arange(n, dtype=cells.dtype, device=cells.device) for n in self.grid.size)
        x_offsets = (cells[..., 0, None] - columns) * mask[..., None] / self.radius_cells
        y_offsets = (cells[..., 1, None] - rows) * mask[..., None] / self.radius_cells
        return x_offsets[..., None, :], y_offsets[..., :, None], mask

    @staticmethod
    def select_nearest(x_offsets: Tensor, y_offsets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Merge what `compute_offsets` returns over the instances.

        Returns:
            The disks of all instances, and x and y of the offsets to the nearest one, each (B, K, H, W).
        """
        # In radii: the disk is where the squared distance is at most 1.
        squared_distances = x_offsets.square() + y_offsets.square()
        disk = ((squared_distances <= 1) & mask[..., None, None]).float()
        x_offsets, y_offsets = torch.broadcast_tensors(x_offsets, y_offsets)
        if mask.shape[1] == 1:
            return disk[:, 0], x_offsets[:, 0], y_offsets[:, 0]
        drawn_distances = torch.where(mask[..., None, None], squared_distances, torch.inf)
        nearest = drawn_distances.argmin(dim=1, keepdim=True)
        return disk.amax(dim=1), x_offsets.gather(1, nearest)[:, 0], y_offsets.gather(1, nearest)[:, 0]

    def decode(self, fields: Fields) -> Poses:
        """Decode disks (B, K, H, W) and offsets (B, 2 K, H, W) to one instance per image, in input pixels."""
        is_official = self.match == 'official'
        kernel_size = self.blur_kernel_size or (_OFFICIAL_KERNEL_SIZE if is_official else _KERNEL_SIZE)
        disks = blur_heatmaps(self.check_grid_size(fields['heatmap']), kernel_size, reflect=True)
        cells, values = get_heatmap_maximum(disks)
        offset_kernel_size = self.offset_blur_kernel_size or (_OFFICIAL_OFFSET_KERNEL_SIZE if is_official else None)
        offset = fields['offset']
        if offset_kernel_size:
            offset = blur_heatmaps(offset, offset_kernel_size, reflect=True)
        if self.match != 'poseplug':
            cells = torch.where((values > 0)[..., None], cells, 0)
        offsets = [gather_at_cells(offset[:, axis::2], cells) for axis in (0, 1)]
        keypoints = cells + self.radius_cells * torch.stack(offsets, dim=-1)
        scores = values.clamp(0, 1) if self.match == 'poseplug' else values
        return keypoints_to_poses(self.grid.to_pixels(keypoints), scores)

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        flipped = self.skeleton.flip_indices.tolist()
        return {'heatmap': flipped, 'offset': list_vector_channels(flipped)}

    def name_channels(self, keypoints: Sequence[str]) -> dict[str, list[str]]:
        """Name the channels of heatmaps and offsets, of which each keypoint has two."""
        return {'heatmap': [*keypoints], 'offset': name_vector_channels(keypoints)}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input; x of the offsets is negated."""
        flipped = super().flip(fields)
        return {**flipped, 'offset': negate_x(flipped['offset'])}
