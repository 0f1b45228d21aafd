"""Heatmaps of the MSRA family: SimpleBaseline (Xiao et al. 2018, arXiv:1804.06208) and HRNet (Sun et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from poseplug.codecs.heatmap import Heatmap
from poseplug.registry import CODECS


@CODECS.register_module()
@dataclass(frozen=True)
class MSRAHeatmap(Heatmap):
    """A Gaussian on the nearest cell, within 3 sigma, read back with a quarter step.

    What rounding loses, up to half a cell, no read-out finds again. Mirrored fields move by one cell.
    """

    center: Literal['exact', 'cell'] = 'cell'
    patch: bool = True
