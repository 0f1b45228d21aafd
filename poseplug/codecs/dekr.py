"""Centers and the way from there to every keypoint (DEKR: Geng et al. 2021, arXiv:2104.02300)."""

from __future__ import annotations

__all__ = ['CenterDisplacement']

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.codecs.heatmap import labeled_mask
from poseplug.codecs.multi_instance import weight_annotated_heatmaps
from poseplug.codecs.vector_channels import list_vector_channels, name_vector_channels, negate_x
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_counts, check_kernel_sizes, check_positive, check_probabilities
from poseplug.fields.gaussians import draw_gaussians, merge_heatmaps
from poseplug.fields.grid import Grid
from poseplug.registry import CODECS

_MIN_VALUE = 1e-3  # a Gaussian is 0 below, so that the background begins somewhere
_MIN_DIAGONAL_PX = 22.6  # of an instance whose displacements count most: sqrt(32) cells of 4 px, as released


class _Candidates(NamedTuple):
    """Poses of every image, of which not all are instances.

    Attributes:
        cells: (B, M, K, 2) keypoints in cells.
        scores: (B, M) of the instances.
        values: (B, M, K) of the keypoints.
        mask: (B, M) bool, which are instances.
    """

    cells: Tensor
    scores: Tensor
    values: Tensor
    mask: Tensor

    def sort_by(self, scores: Tensor) -> _Candidates:
        """Sort by scores (B, M), the highest instance first and what is none last."""
        order = torch.where(self.mask, scores, -torch.inf).argsort(dim=1, descending=True, stable=True)
        images = torch.arange(len(order), device=order.device)[:, None]
        return _Candidates(*(array[images, order] for array in self))


@CODECS.register_module()
@dataclass(frozen=True)
class CenterDisplacement(MapCodec):
    """Heatmaps of all instances' keypoints and centers, and the displacements from a center to its keypoints.

    The field 'heatmap' has a channel per keypoint, and one of the centers: the means of the labeled keypoints. The
    field 'displacement' has x and y of every keypoint relative to the cell, in cells. It is trained around the centers,
    where the nearest square of `radius_px` is the instance's with the smallest extent, each instance with the weight of
    1 / its diagonal in cells.

    Instances are the highest local maxima of the centers. An instance scores its center's value, and a keypoint the
    value of its heatmap where the displacement leads. A pose most of whose keypoints lie near those of one that scores
    higher is suppressed.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        sigma_px: standard deviation of a keypoint's Gaussian in pixels.
        center_sigma_px: standard deviation of a center's Gaussian in pixels.
        radius_px: half the side of the square around a center in which displacements are trained.
        background_weight: weight of heatmap cells that no Gaussian reaches.
        center_threshold: a center is larger than this.
        nms_kernel_size: a center is the largest of the square of this many cells around it; odd.
        max_instances: the highest-scoring instances kept of each image.
        nms_threshold: two keypoints are near if they are closer than this fraction of the square root of the pose's
            box area.
        single_instance: decode one instance per image, for crops of a single one: that of the highest center.
        match: 'mmpose' fits images into the input as MMPose does, and scores as it does: a keypoint by the product of
            its center's and its own value, an instance by the mean of these products. Of poses that lie near each
            other, by their diagonals, the one with the highest mean of the keypoints' values stays.

    Raises:
        ConfigError: for a setting that has no meaning.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> CenterDisplacement(COCO, input_size=(512, 512)).fields
        {'heatmap': 18, 'displacement': 34}
    """

    # As released, in cells of 4 px: 2 for keypoints, 4 for centers, and 4 for the displacements around them.
    sigma_px: float = 8.0
    center_sigma_px: float = 16.0
    radius_px: float = 16.0
    background_weight: float = 0.1
    center_threshold: float = 0.01
    nms_kernel_size: int = 5
    max_instances: int = 30
    nms_threshold: float = 0.05
    single_instance: bool = False

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    tolerance: ClassVar[float] = 0.01
    groups_instances: ClassVar[bool] = True
    score_meaning: ClassVar[str] = 'value of the heatmap where the displacement leads, clipped to 0..1'

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel_sizes('CenterDisplacement', nms_kernel_size=self.nms_kernel_size)
        check_counts('CenterDisplacement', max_instances=self.max_instances)
        part, sizes = 'CenterDisplacement', ('sigma_px', 'center_sigma_px', 'radius_px')
        check_positive(part, **{name: getattr(self, name) for name in sizes})
        fractions = ('background_weight', 'center_threshold', 'nms_threshold')
        check_probabilities(part, **{name: getattr(self, name) for name in fractions})

    @property
    def fields(self) -> dict[str, int]:
        return {'heatmap': len(self.skeleton) + 1, 'displacement': 2 * len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        return Grid.from_stride(self.input_size, self.stride)

    def encode(
        self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None, annotated_keypoints: Tensor | None = None
    ) -> Targets:
        """Encode keypoints as heatmaps and displacements; arguments as in `Codec.encode`.

        The heatmaps of keypoints that are not annotated have no weight.
        """
        # A position that is not finite would reach the mean, and with it the center.
        labeled = labeled_mask(visible, valid) & torch.isfinite(keypoints).all(dim=-1)
        cells = self.grid.to_cells(torch.where(labeled[..., None], keypoints, 0.0).float())
        counts = labeled.sum(dim=-1)
        centers = (cells * labeled[..., None]).sum(dim=-2) / counts.clamp(min=1)[..., None]
        has_center, size = (counts > 0)[..., None], self.grid.size
        keypoint_maps = draw_gaussians(cells, labeled, size, self.sigma_px / self.stride)
        center_maps = draw_gaussians(centers[..., None, :], has_center, size, self.center_sigma_px / self.stride)
        heatmap = merge_heatmaps(torch.cat([keypoint_maps, center_maps], dim=2), 'max')
        heatmap = torch.where(heatmap < _MIN_VALUE, 0.0, heatmap)
        displacement, weight = self._draw_displacements(cells, labeled, centers)
        heatmap_weight = torch.where(heatmap > 0, 1.0, self.background_weight)
        if annotated_keypoints is not None:
            channel_weights = weight_annotated_heatmaps(annotated_keypoints, self.fields['heatmap'])
            heatmap_weight = heatmap_weight * channel_weights[..., None, None]
        targets = {'heatmap': heatmap, 'displacement': displacement}
        return Targets((targets,), {'heatmap': heatmap_weight, 'displacement': weight})

    def _draw_displacements(self, cells: Tensor, labeled: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements (B, 2 K, H, W) and their weights, of keypoints (B, N, K, 2) around centers (B, N, 2)."""
        (width, height), device = self.grid.size, cells.device
        positions = torch.stack(
            torch.meshgrid(torch.arange(width, device=device), torch.arange(height, device=device), indexing='xy'),
            dim=-1,
        ).float()  # (H, W, 2)
        if not cells.shape[1]:
            empty = cells.new_zeros(len(cells), self.fields['displacement'], height, width)
            return empty, empty
        mask = labeled[..., None]
        extent = torch.where(mask, cells, -torch.inf).amax(dim=2) - torch.where(mask, cells, torch.inf).amin(dim=2)
        # The paper divides a displacement's error by its instance's diagonal, so that small ones count as much.
        diagonals = extent.norm(dim=-1).clamp(min=_MIN_DIAGONAL_PX / self.stride)  # (B, N)
        distances = (positions - centers[:, :, None, None]).abs().amax(dim=-1)  # (B, N, H, W)
        inside = (distances <= self.radius_px / self.stride) & labeled.any(dim=-1)[..., None, None]
        smallest, index = torch.where(inside, diagonals[..., None, None], torch.inf).min(dim=1)  # (B, H, W)
        images = torch.arange(len(cells), device=device)[:, None, None]
        vectors = cells[images, index] - positions[:, :, None]  # (B, H, W, K, 2)
        usable = labeled[images, index] & torch.isfinite(smallest)[..., None]
        vectors = torch.where(usable[..., None], vectors, 0.0)
        weight = torch.where(usable, 1 / smallest[..., None], 0.0)[..., None].expand_as(vectors)
        return vectors.flatten(3).permute(0, 3, 1, 2), weight.flatten(3).permute(0, 3, 1, 2)

    def decode(self, fields: Fields) -> Poses:
        """Decode fields (B, C, H, W) to the instances of every image, highest score first, in input pixels."""
        heatmaps = self.check_grid_size(fields['heatmap']).float()
        scores, indices, mask = self._select_centers(heatmaps[:, len(self.skeleton)])
        width = heatmaps.shape[-1]
        centers = torch.stack([indices % width, indices // width], dim=-1).float()  # (B, M, 2)
        flat = fields['displacement'].float().flatten(2)
        vectors = flat.gather(2, indices[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)
        cells = centers[:, :, None] + vectors.unflatten(2, (-1, 2))  # (B, M, K, 2)
        heatmaps = heatmaps[:, : len(self.skeleton)]
        # MMPose's positions are stretched: it gives the middle of the last cell as its border.
        values = _sample_heatmaps(heatmaps, cells, align_corners=self.match == 'poseplug')
        candidates = _Candidates(cells, scores, values, mask)
        if self.match == 'mmpose':
            candidates = candidates.sort_by(values.mean(dim=-1))
        if not self.single_instance:
            suppress = self._drop_repeated_as_mmpose if self.match == 'mmpose' else self._drop_repeated
            candidates = candidates._replace(mask=suppress(candidates))
        if self.match == 'mmpose':
            products = candidates.scores[..., None] * candidates.values
            candidates = candidates._replace(scores=products.mean(dim=-1), values=products)
            candidates = candidates.sort_by(candidates.scores)
        else:
            candidates = candidates._replace(scores=scores.clamp(0, 1), values=values.clamp(0, 1))
        image_indices, ranks = candidates.mask.nonzero(as_tuple=True)
        return Poses(
            keypoints=self.grid.to_pixels(candidates.cells[image_indices, ranks]),
            keypoint_scores=candidates.values[image_indices, ranks],
            instance_scores=candidates.scores[image_indices, ranks],
            image_indices=image_indices,
        )

    def _select_centers(self, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and indices (B, M) of the highest centers in maps (B, H, W), and which of them are instances."""
        flat = centers.flatten(1)
        if self.single_instance:
            scores, indices = flat.topk(1, dim=1)
            return scores, indices, torch.ones_like(scores, dtype=torch.bool)
        kernel_size = self.nms_kernel_size
        highest = F.max_pool2d(centers[:, None], kernel_size, 1, kernel_size // 2)[:, 0]
        peaks = torch.where(centers == highest, centers, 0.0).flatten(1)
        scores, indices = peaks.topk(min(self.max_instances, peaks.shape[1]), dim=1)
        return scores, indices, scores > self.center_threshold

    def _drop_repeated(self, candidates: _Candidates) -> Tensor:
        """Which poses (B, M) stay: those with few keypoints near those of a higher one that stays itself."""
        cells, mask = candidates.cells, candidates.mask
        # Rank by rank, at most `max_instances` times: what a pose suppresses depends on whether it stays itself.
        size = (cells.amax(dim=2) - cells.amin(dim=2)).prod(dim=-1).sqrt()  # (B, M)
        repeats = self._find_near_poses(cells, size)
        repeated = torch.zeros_like(mask)
        for rank in range(mask.shape[1] - 1):
            stays = mask[:, rank] & ~repeated[:, rank]
            repeated[:, rank + 1 :] |= repeats[:, rank, rank + 1 :] & stays[:, None]
        return mask & ~repeated

    def _drop_repeated_as_mmpose(self, candidates: _Candidates) -> Tensor:
        """Which poses (B, M) stay by MMPose's rule.

        A pose hands its turn to the highest of the poses near it, by its own size. If that one has neither stayed nor
        been suppressed, it stays, and all near the first are suppressed.
        """
        cells, mask = candidates.cells, candidates.mask
        size = (cells.amax(dim=2) - cells.amin(dim=2)).norm(dim=-1)
        near = self._find_near_poses(cells, size) & mask[:, None]
        # A pose is near itself, also one whose keypoints all lie in one position.
        near = near | torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        highest = near.int().argmax(dim=2)  # (B, M), the first of each row, since the highest comes first
        suppressed, stays = torch.zeros_like(mask), torch.zeros_like(mask)
        images = torch.arange(len(mask), device=mask.device)
        for rank in range(mask.shape[1]):
            target = highest[:, rank]
            acts = mask[:, rank] & ~suppressed[:, rank] & ~suppressed[images, target]
            stays[images, target] |= acts
            suppressed |= near[:, rank] & acts[:, None]
        return stays

    def _find_near_poses(self, cells: Tensor, size: Tensor) -> Tensor:
        """Whether most keypoints of a pose (B, M, K, 2) are near those of another, by its size (B, M): (B, M, M)."""
        distances = (cells[:, :, None] - cells[:, None]).norm(dim=-1)  # (B, M, M, K)
        num_near = (distances < self.nms_threshold * size[:, :, None, None]).sum(dim=-1)
        near: Tensor = num_near > cells.shape[2] // 2
        return near

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        flipped = self.skeleton.flip_indices.tolist()
        return {'heatmap': [*flipped, len(flipped)], 'displacement': list_vector_channels(flipped)}

    def name_channels(self, keypoints: Sequence[str]) -> dict[str, list[str]]:
        """Name the channels of heatmaps, with the center last, and of displacements, two per keypoint."""
        return {'heatmap': [*keypoints, 'center'], 'displacement': name_vector_channels(keypoints)}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input; x of the displacements is negated."""
        flipped = super().flip(fields)
        return {**flipped, 'displacement': negate_x(flipped['displacement'])}


def _sample_heatmaps(heatmaps: Tensor, cells: Tensor, align_corners: bool) -> Tensor:
    """Values (B, M, K) of heatmaps (B, K, H, W) at positions (B, M, K, 2) in cells, between the cells around."""
    batch, num_keypoints, height, width = heatmaps.shape
    # With align_corners the outermost cell centers stand at -1 and 1; a single column has no extent to divide by.
    last = cells.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = (2 * cells / last - 1).transpose(1, 2).flatten(0, 1)[:, None]  # (B K, 1, M, 2)
    maps = heatmaps.reshape(batch * num_keypoints, 1, height, width)
    values = F.grid_sample(maps, grid, mode='bilinear', padding_mode='border', align_corners=align_corners)
    return values.reshape(batch, num_keypoints, cells.shape[1]).transpose(1, 2)
