"""Heatmaps of the midpoints of limbs: what part affinity fields are compared with (Cao et al. 2017, figure 5)."""

from __future__ import annotations

__all__ = ['LimbMidpoints']

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from poseplug.codecs.base import Fields
from poseplug.codecs.paf import PAF
from poseplug.fields.gaussians import draw_gaussians, merge_heatmaps
from poseplug.grouping.limb_grouping import FindLimbs
from poseplug.grouping.midpoint_limbs import find_midpoint_limbs
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class LimbMidpoints(PAF):
    """A heatmap per keypoint and one per limb, whose peaks are the limbs' midpoints.

    The field 'midpoint' has one channel per limb, drawn like the heatmaps of `heatmap_codec`. A pair of peaks is a limb
    if that heatmap exceeds `paf_threshold` of the parser's rules halfway between them. A midpoint has no direction, so
    that people close to one another are confused: the codec shows what limb fields add, and is no choice for a product.

    Args:
        skeleton: names of the keypoints and limbs; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride, heatmap_codec, instances, refine, parser, single_instance: as in `PAF`.
        width_cells, width_px, limb_ends, limb_merge: of `PAF`; without effect here.

    Example:
        >>> from poseplug.skeletons.coco18 import COCO18
        >>> LimbMidpoints(COCO18, input_size=(368, 368)).fields
        {'midpoint': 19, 'heatmap': 19}
    """

    limb_field: ClassVar[str] = 'midpoint'

    @property
    def fields(self) -> dict[str, int]:
        return {'midpoint': len(self.skeleton.limbs), **self.built_heatmap_codec.fields}

    @property
    def limb_finder(self) -> FindLimbs:
        return find_midpoint_limbs

    def draw_limbs(self, keypoints: Tensor, labeled: Tensor) -> Tensor:
        """Draw heatmaps (B, L, H, W) of the midpoints of keypoints (B, N, K, 2) px that are labeled (B, N, K)."""
        starts, ends, mask = self.locate_limbs(keypoints, labeled)
        codec = self.built_heatmap_codec
        instance_heatmaps = draw_gaussians((starts + ends) / 2, mask, self.grid.size, codec.sigma_cells)
        return merge_heatmaps(instance_heatmaps, self.instances)

    def flip(self, fields: Fields) -> dict[str, Tensor]:
        """Convert the fields of a flipped input to those of the input."""
        # Past PAF, which negates x: the midpoint of a limb has no direction.
        return super(PAF, self).flip(fields)
