"""DARK: heatmaps drawn without rounding and read by their distribution (Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

__all__ = ['DARKHeatmap']

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poseplug.codecs.heatmap import Heatmap
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import CropRule
from poseplug.fields.gaussians import reaches_grid
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class DARKHeatmap(Heatmap):
    """A Gaussian around the exact keypoint over the whole heatmap, read by smoothing and a second-order expansion.

    The published results are those of `aligned=True`, the released code's transform between pixel centers, where
    flipped fields need no shift. Without it the grid is the MSRA family's, as in the other implementations called DARK.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride, offset, aligned, sigma_px, center, truncate, min_value, instances, background, unlabeled, outside,
            refine, blur_kernel_size, modulate, rescale, smoothing_kernel_size: as in `Heatmap`.
        match: as in `Heatmap`; 'official' is DarkPose, whose grid is aligned, and which draws keypoints up to one cell
            farther to the left of the heatmap, or above it.

    Raises:
        ConfigError: as in `Heatmap`, or the grid of DarkPose is not aligned.

    Example:
        >>> import torch
        >>> from poseplug.skeletons.coco import COCO
        >>> codec = DARKHeatmap(COCO, input_size=(192, 256))
        >>> targets = codec.encode(torch.full((1, 1, 17, 2), 50.0), torch.ones(1, 1, 17))
        >>> bool((codec.decode(targets.stage_fields(0)).keypoints - 50).abs().max() < 0.1)
        True
    """

    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'dark'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match == 'official' and not self.aligned:
            raise ConfigError(
                "DARKHeatmap: the grid of match='official' is aligned; set aligned=True, or leave out match"
            )

    @property
    def crop_rule(self) -> CropRule:
        return 'released_dark' if self.match == 'official' else super().crop_rule

    def mask_drawable(self, keypoints: Tensor, labeled: Tensor) -> Tensor:
        if self.match != 'official' or self.outside == 'empty':
            return super().mask_drawable(keypoints, labeled)
        # DarkPose cuts the end of the Gaussian to a whole number, towards 0: one between -1 and 0 still reaches cell 0.
        cells = self.grid.to_cells(keypoints)
        cells = torch.where((cells < 0) & (cells > -3 * self.sigma_cells - 2), 0.0, cells)
        return labeled & reaches_grid(cells, self.grid.size, self.sigma_cells)
