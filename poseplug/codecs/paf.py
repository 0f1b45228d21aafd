"""Part affinity fields beside heatmaps: instances from limbs (Cao et al. 2017, arXiv:1611.08050)."""

from __future__ import annotations

__all__ = ['PAF']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Fields, MapCodec, Targets
from poseplug.codecs.heatmap import Heatmap, labeled_mask
from poseplug.codecs.multi_instance import (
    HEATMAP_CODEC_SLOT,
    build_heatmap_codec,
    concat_image_poses,
    select_central_instances,
    weight_annotated_heatmaps,
)
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_number
from poseplug.fields.blur import blur_heatmaps
from poseplug.fields.grid import Grid
from poseplug.fields.limbs import encode_limb_fields
from poseplug.fields.peaks import PEAK_REFINEMENTS
from poseplug.grouping.limb_grouping import FindLimbs, ParseResult
from poseplug.grouping.limb_scores import find_limbs
from poseplug.grouping.paf import check_paf_fields, parse_paf_batch
from poseplug.grouping.paf_rules import PAFRules, get_paf_rules
from poseplug.registry import CODECS
from poseplug.registry.wiring import Slot

# Settings of the heatmap codec, unless its config says otherwise.
_HEATMAP_DEFAULTS = dict(background=True, unlabeled='empty', outside='empty')
_MAX_LISTED_KEYPOINTS = 6  # in a message


def _default_heatmap_codec() -> dict[str, Any]:
    """Gaussians down to 1e-4: at the border 'taylor' needs values that the released code, with 0.01, leaves out."""
    return dict(type='CPMHeatmap', min_value=1e-4, refine='taylor')


@CODECS.register_module()
@dataclass(frozen=True)
class PAF(MapCodec):
    """A heatmap per keypoint and a field of unit vectors per limb, of all instances in the image at once.

    The field 'paf' has 2 L channels, x and y of each of `skeleton.limbs` in turn, on the cells at most `width_cells`
    beside the limb; a limb is drawn if both of its ends lie in the input. 'heatmap' is that of `heatmap_codec`, with a
    background unless its config says otherwise; a keypoint that no instance has is then an empty heatmap that counts.

    Fields of any size are decoded; `encode` draws those of `input_size`. A missing keypoint has score and visibility 0.

    Args:
        skeleton: names of the keypoints and limbs; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride: input pixels per cell.
        heatmap_codec: the codec that draws and reads the keypoints, a config or built: any of one Gaussian per keypoint
            (`CPMHeatmap`, `Heatmap`, `DARKHeatmap`, `MSRAHeatmap`, `UDPHeatmap`). It gets this codec's skeleton,
            input size, stride and `instances`.
        width_cells: half the width of a limb.
        width_px: half the width of a limb in input pixels (the paper), which does not depend on the stride; replaces
            `width_cells`.
        limb_ends: whether a limb is 'extended' by half its width beyond both ends (the released code), or 'exact', from
            one end to the other (the paper).
        limb_merge: what a cell holds that several instances cover: the 'mean' of their vectors (the paper), or the
            vector of the 'last' of them (the released code).
        instances: how several instances share a heatmap, by 'max' (the paper), or 'add', capped at 1 (the released
            code).
        refine: how peaks are refined between the cells, if not as `heatmap_codec` says; 'centroid' is the OpenPose
            library's.
        parser: rules of the grouping: the name of a preset, or a dict of changes to its `preset`; see
            `poseplug.grouping.paf_rules.PAFRules`.
        single_instance: decode one instance per image, for crops of a single one: the one nearest to the middle, its
            missing keypoints at the highest peaks.

    Raises:
        ConfigError: for a setting that has no meaning, or a limb whose flipped copy is none of the skeleton.

    Example:
        >>> from poseplug.skeletons.coco18 import COCO18
        >>> PAF(COCO18, input_size=(368, 368)).fields
        {'paf': 38, 'heatmap': 19}
    """

    stride: int = 8
    heatmap_codec: Any = field(default_factory=_default_heatmap_codec)
    # The released code's distance from the line of a limb.
    width_cells: float = 1.0
    width_px: float | None = None
    limb_ends: Literal['extended', 'exact'] = 'extended'
    limb_merge: Literal['mean', 'last'] = 'mean'
    instances: Literal['max', 'add'] = 'max'
    refine: Literal['none', 'quarter', 'dark', 'udp', 'taylor', 'centroid'] | None = None
    parser: Any = 'openpose'
    single_instance: bool = False

    tolerance: ClassVar[float] = 5.7
    groups_instances: ClassVar[bool] = True
    slots: ClassVar[Mapping[str, Slot]] = {'heatmap_codec': HEATMAP_CODEC_SLOT}
    limb_field: ClassVar[str] = 'paf'  # the field of the limbs

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_widths()
        if self.peak_refinement not in PEAK_REFINEMENTS:
            raise ConfigError(
                f'PAF: peaks are refined by one of {PEAK_REFINEMENTS}; got {self.peak_refinement!r}. Set refine'
            )
        self.built_heatmap_codec, self.rules, self.flip_limbs  # noqa: B018 - each fails here, if it does
        self._check_limb_groups()

    def _check_widths(self) -> None:
        """Refuse a width of limbs that is none, and two of them."""
        part, limit_px = type(self).__name__, max(self.input_size)
        check_number(part, 'width_cells', self.width_cells, 0, limit_px, above=True)
        if self.width_px is None:
            return
        check_number(part, 'width_px', self.width_px, 0, limit_px, above=True)
        # The default is no choice of the user's.
        if self.width_cells != type(self).__dataclass_fields__['width_cells'].default:
            raise ConfigError(f'{part}: width_px replaces width_cells; set one of them')

    def _check_limb_groups(self) -> None:
        """Refuse limbs along which the keypoints of one instance would come out as several instances."""
        groups = self.skeleton.limb_groups
        # Grouping follows limbs: what they do not connect would be counted as further instances.
        if len(groups) > 1 and self.skeleton.limbs and not self.single_instance:
            smallest = ', '.join(min(groups, key=len)[:_MAX_LISTED_KEYPOINTS])
            raise ConfigError(
                f'PAF: the limbs of skeleton {self.skeleton.name!r} connect its keypoints in {len(groups)} groups, '
                f'each of which would be an instance of its own; add a limb between {smallest} and the others'
            )

    @cached_property
    def built_heatmap_codec(self) -> Heatmap:
        """The codec of the keypoints."""
        return build_heatmap_codec(self, self.heatmap_codec, self.instances, _HEATMAP_DEFAULTS)

    @property
    def peak_refinement(self) -> str:
        """The refinement of peaks between the cells."""
        return self.refine or self.built_heatmap_codec.refine

    @cached_property
    def rules(self) -> PAFRules:
        """The rules for peaks, limbs and instances."""
        return get_paf_rules(self.parser)

    @property
    def limb_width_cells(self) -> float:
        """Half the width of a limb in cells."""
        return self.width_cells if self.width_px is None else self.width_px / max(self.grid.strides)

    @property
    def fields(self) -> dict[str, int]:
        return {'paf': 2 * len(self.skeleton.limbs), **self.built_heatmap_codec.fields}

    @property
    def grid(self) -> Grid:
        return self.built_heatmap_codec.grid

    def with_input_size(self, input_size: tuple[int, int]) -> PAF:
        """Return the same codec for inputs of another size (width, height) in pixels."""
        return self if tuple(input_size) == self.input_size else replace(self, input_size=input_size)

    @property
    def limb_finder(self) -> FindLimbs:
        """Selects the pairs of peaks that are limbs."""
        return find_limbs

    @property
    def channels_per_limb(self) -> int:
        """Channels of a limb in the field of the limbs."""
        return self.fields[self.limb_field] // max(len(self.skeleton.limbs), 1)

    def encode(
        self, keypoints: Tensor, visible: Tensor, valid: Tensor | None = None, annotated_keypoints: Tensor | None = None
    ) -> Targets:
        """Encode keypoints as heatmaps and limb fields; arguments as in `Codec.encode`.

        Keypoints that are not annotated, and the limbs that end in one, have no weight.
        """
        labeled = labeled_mask(visible, valid)
        mask = self.built_heatmap_codec.mask_drawable(keypoints, labeled)
        limb_maps = self.draw_limbs(keypoints, labeled)
        targets = {self.limb_field: limb_maps, 'heatmap': self.built_heatmap_codec.draw_heatmaps(keypoints, mask)}
        weights = self.built_heatmap_codec.channel_weights(mask)
        if annotated_keypoints is not None:
            weights = self.channel_weights(weights, annotated_keypoints)
        return Targets((targets,), weights)

    def draw_limbs(self, keypoints: Tensor, labeled: Tensor) -> Tensor:
        """Draw limb fields (B, 2 L, H, W) of keypoints (B, N, K, 2) px that are labeled (B, N, K)."""
        starts, ends, mask = self.locate_limbs(keypoints, labeled)
        drawn = (mask, self.grid.size, self.limb_width_cells, self.limb_merge, self.limb_ends)
        return encode_limb_fields(starts, ends, *drawn)

    def locate_limbs(self, keypoints: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Locate the limbs of keypoints (B, N, K, 2) px that are labeled (B, N, K).

        Returns:
            Their starts and ends (B, N, L, 2) in cells, and which of them (B, N, L) have both ends in the input.
        """
        size = keypoints.new_tensor(self.input_size)
        # With pixel centers on integers an input of n px reaches from -0.5 to n - 0.5.
        labeled = labeled & ((keypoints >= -0.5) & (keypoints < size - 0.5)).all(dim=-1)
        cells = self.grid.to_cells(torch.where(labeled[..., None], keypoints, 0.0))
        starts, ends = self.skeleton.limb_indices.T.tolist()
        return cells[:, :, starts], cells[:, :, ends], labeled[:, :, starts] & labeled[:, :, ends]

    def channel_weights(self, weights: Mapping[str, Tensor], annotated_keypoints: Tensor) -> dict[str, Tensor]:
        """Return the weights (B, C) of all channels, 0 for those that are not annotated.

        Args:
            weights: of the heatmaps, as the heatmap codec gives them.
            annotated_keypoints: (B, K) bool.
        """
        starts, ends = self.skeleton.limb_indices.T.tolist()
        annotated_limbs = annotated_keypoints[:, starts] & annotated_keypoints[:, ends]
        limb_weights = annotated_limbs.float().repeat_interleave(self.channels_per_limb, dim=1)
        heatmap_weights = weight_annotated_heatmaps(annotated_keypoints, self.fields['heatmap'], weights)
        return {self.limb_field: limb_weights, 'heatmap': heatmap_weights}

    def parse_fields(self, fields: Fields) -> list[ParseResult]:
        """Group fields (B, C, H, W) into the instances of every image, with the counts of every step."""
        checked = check_paf_fields(fields, self.skeleton, self.limb_field, self.channels_per_limb)
        raw = checked['heatmap'][:, : len(self.skeleton)]
        codec = self.built_heatmap_codec
        smoothing = codec.smoothing_kernel_size
        heatmaps = blur_heatmaps(raw, smoothing) if smoothing else raw
        return parse_paf_batch(
            heatmaps,
            checked[self.limb_field],
            self.skeleton,
            self.rules,
            max(self.grid.strides),
            self.peak_refinement,
            codec.peak_kernel_size,
            raw if smoothing else None,
            self.limb_finder,
        )

    def decode(self, fields: Fields) -> Poses:
        """Decode fields (B, C, H, W) of any size to the instances of every image, highest score first, in pixels."""
        results = self.parse_fields(fields)
        codec = self.with_grid_of(fields['heatmap'])
        poses_per_image = [result.to_poses(codec.grid.strides, codec.grid.offset) for result in results]
        if self.single_instance:
            return select_central_instances(poses_per_image, fields['heatmap'], codec.built_heatmap_codec)
        return concat_image_poses(poses_per_image, len(self.skeleton), fields['heatmap'].device)

    def with_grid_of(self, heatmaps: Tensor) -> PAF:
        """Return this codec for the input size of heatmaps (..., H, W)."""
        size = (heatmaps.shape[-1], heatmaps.shape[-2])
        return self if size == self.grid.size else self.with_input_size((size[0] * self.stride, size[1] * self.stride))

    @cached_property
    def flip_limbs(self) -> tuple[list[int], list[int]]:
        """The limb that each limb becomes in a flipped input, and 1, or -1 if that one runs the other way."""
        flip_indices = self.skeleton.flip_indices
        limbs = [tuple(limb) for limb in self.skeleton.limb_indices.tolist()]
        order, signs = [], []
        flipped_limbs = flip_indices[self.skeleton.limb_indices].tolist()
        for limb, (start, end) in zip(self.skeleton.limbs, flipped_limbs, strict=True):
            if (start, end) not in limbs and (end, start) not in limbs:
                raise ConfigError(
                    f'PAF: the limb {limb} of skeleton {self.skeleton.name!r} is none when flipped; add the limb '
                    'between its flip pairs'
                )
            # Between two flipped ends the skeleton may list the limb from its other end.
            same_direction = (start, end) in limbs
            order.append(limbs.index((start, end) if same_direction else (end, start)))
            signs.append(1 if same_direction else -1)
        return order, signs

    def name_channels(self, keypoints: Sequence[str]) -> dict[str, list[str]]:
        """Raise ConfigError: the channels of a limb field belong to limbs, which the names of keypoints do not say."""
        raise ConfigError(
            'PAF: the channels of limb fields cannot be taken by the names of keypoints; use the skeleton'
        )

    @cached_property
    def flip_channels(self) -> dict[str, list[int]]:
        order, count = self.flip_limbs[0], self.channels_per_limb
        limb_channels = [count * limb + axis for limb in order for axis in range(count)]
        return {self.limb_field: limb_channels, **self.built_heatmap_codec.flip_channels}

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input; x of the limb fields is negated."""
        flipped = super().flip(fields)
        if 'paf' in flipped:
            # x changes its sign by the flip, and both axes do once more where the other limb runs the other way.
            signs = flipped['paf'].new_tensor([sign * axis for sign in self.flip_limbs[1] for axis in (-1, 1)])
            flipped['paf'] = flipped['paf'] * signs[:, None, None]
        return flipped
