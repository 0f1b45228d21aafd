"""Tags beside heatmaps: numbers that group keypoints into instances (Newell et al. 2017, arXiv:1611.05424)."""

from __future__ import annotations

__all__ = ['Tags']

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.codecs.heatmap import Heatmap, labeled_mask
from poseplug.codecs.multi_instance import (
    HEATMAP_CODEC_SLOT,
    build_heatmap_codec,
    select_central_instances,
    weight_annotated_heatmaps,
)
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.fields.blur import blur_heatmaps
from poseplug.fields.gaussians import round_to_cells
from poseplug.fields.grid import Grid
from poseplug.grouping.tag_groups import TagParseResult, TagRules
from poseplug.grouping.tags import parse_tags
from poseplug.registry import CODECS
from poseplug.registry.wiring import Slot

# Settings of the heatmap codec, unless its config says otherwise.
_HEATMAP_DEFAULTS = dict(unlabeled='empty', outside='empty')
# Newell et al. 2017 go through the keypoints from head and trunk outwards; peaks join the instances so far.
_OUTWARD_PARTS = (('hip', 'pelvis'), ('elbow',), ('wrist', 'hand'), ('knee',), ('ankle',), ('heel', 'toe', 'foot'))


@CODECS.register_module()
@dataclass(frozen=True)
class Tags(MapCodec):
    """A heatmap per keypoint, of all instances in the image at once, and a map per keypoint of tags that group them.

    The field 'tags' (K channels) should have similar values at the keypoints of one instance and different ones at
    those of two, whatever the numbers are. Its target holds the number of the instance, from 1, in the cell of each of
    its keypoints, and 0 elsewhere; of two instances in one cell it is the later one's. The target is made for the loss
    `AssociativeEmbeddingLoss`. Behind the first K maps there may be further dimensions of K maps each, such as the tags
    of the flipped image.

    'heatmap' is that of `heatmap_codec`; unless its config says otherwise, a keypoint that no instance has is an empty
    heatmap that counts. An instance scores the sum of its peaks over the number of all keypoints.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        heatmap_codec: the codec that draws and reads the keypoints, a config or built: any of one Gaussian per
            keypoint. It gets this codec's skeleton, input size and stride; instances share a heatmap by their maximum.
        keypoint_threshold: a peak is larger than this.
        nms_kernel_size: a peak is the largest of the square of this many cells around it; odd.
        top_k: the highest peaks kept of each keypoint.
        tag_threshold: a peak does not join an instance whose mean tag is this far from its own, or farther.
        max_instances: the highest-scoring instances kept of each image.
        keypoint_order: names of all keypoints in the order of grouping; by default from head and trunk outwards.
        fill_missing: whether missing keypoints are taken from the cells whose tags are nearest to the instance's, with
            visibility 1, or 0 below the threshold; otherwise they score 0.
        single_instance: decode one instance per image, for crops of a single one: the one nearest to the middle, its
            missing keypoints at the highest peaks.
        match: 'mmpose' fits images into the input as MMPose does.

    Raises:
        ConfigError: for a setting that has no meaning.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> Tags(COCO, input_size=(512, 512)).fields
        {'heatmap': 17, 'tags': 17}
    """

    heatmap_codec: Any = field(default_factory=lambda: dict(type='Heatmap'))
    keypoint_threshold: float = TagRules.keypoint_threshold
    nms_kernel_size: int = TagRules.nms_kernel_size
    top_k: int = TagRules.top_k
    tag_threshold: float = TagRules.tag_threshold
    max_instances: int = TagRules.max_instances
    keypoint_order: tuple[str, ...] | None = None
    fill_missing: bool = True
    single_instance: bool = False

    matches: ClassVar[tuple[str, ...]] = ('poseplug', 'mmpose')
    tolerance: ClassVar[float] = 4.25  # that of the heatmap codec
    groups_instances: ClassVar[bool] = True
    slots: ClassVar[Mapping[str, Slot]] = {'heatmap_codec': HEATMAP_CODEC_SLOT}
    relative_fields: ClassVar[frozenset[str]] = frozenset({'tags'})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.built_heatmap_codec, self.rules, self.keypoint_order_indices  # noqa: B018 - each fails here, if it does

    @cached_property
    def built_heatmap_codec(self) -> Heatmap:
        """The codec of the keypoints."""
        return build_heatmap_codec(self, self.heatmap_codec, 'max', _HEATMAP_DEFAULTS)

    @cached_property
    def rules(self) -> TagRules:
        """The rules for peaks, and for grouping them into instances."""
        return TagRules(
            self.keypoint_threshold,
            self.nms_kernel_size,
            self.top_k,
            self.tag_threshold,
            self.max_instances,
            self.fill_missing,
        )

    @cached_property
    def keypoint_order_indices(self) -> list[int]:
        """Indices of the keypoints in the order of grouping."""
        names = self.skeleton.keypoints
        if self.keypoint_order is None:
            return sorted(range(len(names)), key=lambda k: outward_rank(names[k]))
        if sorted(self.keypoint_order) != sorted(names):
            raise ConfigError(
                f'Tags: keypoint_order names each keypoint of {self.skeleton.name!r} once; got '
                f'{tuple(self.keypoint_order)}'
            )
        return [self.skeleton.index(name) for name in self.keypoint_order]

    @property
    def fields(self) -> dict[str, int]:
        return {**self.built_heatmap_codec.fields, 'tags': len(self.skeleton)}

    @property
    def grid(self) -> Grid:
        return self.built_heatmap_codec.grid

    def encode(
        self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None, annotated_keypoints: Tensor | None = None
    ) -> Targets:
        """Encode keypoints as heatmaps and instance numbers; arguments as in `Codec.encode`.

        The heatmaps of keypoints that are not annotated have no weight.
        """
        labeled = labeled_mask(visible, valid)
        mask = self.built_heatmap_codec.mask_drawable(keypoints, labeled)
        targets = {
            'heatmap': self.built_heatmap_codec.draw_heatmaps(keypoints, mask),
            'tags': self.draw_instance_numbers(keypoints, labeled),
        }
        weights = self.built_heatmap_codec.channel_weights(mask)
        if annotated_keypoints is not None:
            heatmap_weights = weight_annotated_heatmaps(annotated_keypoints, self.fields['heatmap'], weights)
            weights = {**weights, 'heatmap': heatmap_weights}
        return Targets((targets,), weights)

    def draw_instance_numbers(self, keypoints: Tensor, labeled: Tensor) -> Tensor:
        """Draw maps (B, K, H, W) of the number of the instance that has a keypoint in a cell; 0 where none has.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            labeled: (B, N, K) bool.
        """
        (width, height), (batch, count, num_keypoints) = self.grid.size, labeled.shape
        cells, mask = self.tag_cells(keypoints, labeled)
        indices = cells[..., 1] * width + cells[..., 0]
        numbers = mask * torch.arange(1, count + 1, device=labeled.device)[:, None]
        maps = torch.zeros(batch, num_keypoints, height * width, device=labeled.device)
        # The largest number is that of the last instance; 0 is none.
        maps.scatter_reduce_(2, indices.transpose(1, 2), numbers.transpose(1, 2).float(), 'amax')
        label_maps: Tensor = maps.unflatten(2, (height, width))
        return label_maps

    def tag_cells(self, keypoints: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cell where each keypoint's tag is read: the one where its heatmap is largest.

        That is the nearest cell, also of a keypoint outside the input whose Gaussian exceeds `keypoint_threshold` in
        it. Of two cells as near it is the one that counts as the peak.

        Args:
            keypoints: (B, N, K, 2) x, y in input pixels.
            labeled: (B, N, K) bool.

        Returns:
            The cells (B, N, K, 2; x, y), and which keypoints (B, N, K) have one.
        """
        codec, usable = self.built_heatmap_codec, labeled & torch.isfinite(keypoints).all(dim=-1)
        cells = self.grid.to_cells(torch.where(usable[..., None], keypoints, 0.0))
        # Half-way between two cells 'cell' draws at the second; an exact Gaussian has its first maximum in the first.
        nearest = round_to_cells(cells) if codec.center == 'cell' else torch.ceil(cells - 0.5)
        size = torch.tensor(self.grid.size, device=cells.device)
        inside = nearest.clamp(min=0).minimum(size - 1)
        heights = torch.exp((cells - inside).square().sum(dim=-1) / (-2 * codec.sigma_cells**2))
        return inside.long(), usable & (heights > self.keypoint_threshold)

    def parse_fields(self, fields: Fields) -> TagParseResult:
        """Group fields (B, C, H, W) into the instances of every image, with their peaks; positions are in cells."""
        codec, num_keypoints = self.built_heatmap_codec, len(self.skeleton)
        raw = self.check_grid_size(fields['heatmap'])[:, :num_keypoints].float()
        smoothing = codec.smoothing_kernel_size
        heatmaps = blur_heatmaps(raw, smoothing) if smoothing else raw
        return parse_tags(
            heatmaps,
            fields['tags'].float(),
            self.keypoint_order_indices,
            self.rules,
            codec.refine,
            codec.peak_kernel_size,
            raw if smoothing else None,
        )

    def decode(self, fields: Fields) -> Poses:
        """Decode fields (B, C, H, W) to the instances of every image, highest score first, in input pixels."""
        poses = self.parse_fields(fields).to_poses(self.grid.strides, self.grid.offset)
        if self.single_instance:
            poses_per_image = poses.split_by_image(len(fields['heatmap']))
            return select_central_instances(poses_per_image, fields['heatmap'], self.built_heatmap_codec)
        device = fields['heatmap'].device
        arrays = {name: array for name, array in vars(poses).items() if array is not None}
        return Poses(**{name: torch.as_tensor(array).to(device) for name, array in arrays.items()})

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        return {**self.built_heatmap_codec.flip_channels, 'tags': self.skeleton.flip_indices.tolist()}


def outward_rank(keypoint: str) -> int:
    """Rank a keypoint by its name: 0 for head, trunk and unknown names, larger outwards, largest for the feet."""
    words = keypoint.split('_')
    ranks = (rank for rank, parts in enumerate(_OUTWARD_PARTS, start=1) if any(part in words for part in parts))
    return next(ranks, 0)
