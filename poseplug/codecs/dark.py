"""DARK: heatmaps drawn without rounding and read by their distribution (Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

__all__ = ['DARKHeatmap']

from dataclasses import dataclass
from typing import Literal

from poseplug.codecs.heatmap import Heatmap
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
            refine, blur_kernel_size, smoothing_kernel_size: as in `Heatmap`.

    Example:
        >>> import torch
        >>> from poseplug.skeletons.coco import COCO
        >>> codec = DARKHeatmap(COCO, input_size=(192, 256))
        >>> targets = codec.encode(torch.full((1, 1, 17, 2), 50.0), torch.ones(1, 1, 17))
        >>> bool((codec.decode(targets.stage_fields(0)).keypoints - 50).abs().max() < 0.1)
        True
    """

    refine: Literal['none', 'quarter', 'second_peak', 'dark', 'udp', 'taylor'] = 'dark'
