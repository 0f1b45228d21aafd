"""DARK: heatmaps without rounding, read with their distribution in mind (Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from poseplug.codecs.heatmap import Heatmap
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class DARKHeatmap(Heatmap):
    """A Gaussian around the exact joint over the whole map, smoothed and expanded to second order to read it.

    The published results come from `aligned=True`, the released code's transform between pixel centres, where mirrored
    fields need no shift. Without it the grid is the MSRA family's, as in the other implementations called DARK.
    """

    refine: Literal['none', 'quarter', 'second', 'dark', 'udp', 'taylor'] = 'dark'
