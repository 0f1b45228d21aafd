"""Heatmaps of the MSRA family: SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208) and HRNet (Sun et al. 2019)."""

from __future__ import annotations

__all__ = ['MSRAHeatmap']

from dataclasses import dataclass
from typing import Literal

from poseplug.codecs.heatmap import Heatmap
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class MSRAHeatmap(Heatmap):
    """A Gaussian on the nearest cell, within 3 sigma, read back with a quarter step.

    Rounding loses up to half a cell, which no read-out recovers. Flipped fields are shifted by one cell.

    Args:
        skeleton: names of the keypoints; the estimator provides it.
        input_size: (width, height) of the network's input in pixels.
        stride, offset, aligned, sigma_px, center, truncate, min_value, instances, background, unlabeled, outside,
            refine, blur_kernel_size, modulate, smoothing_kernel_size, match: as in `Heatmap`.

    Example:
        >>> from poseplug.skeletons.coco import COCO
        >>> MSRAHeatmap(COCO, input_size=(192, 256)).grid.flip_shift
        1
    """

    center: Literal['exact', 'cell', 'floor', 'ceil'] = 'cell'
    truncate: bool = True
