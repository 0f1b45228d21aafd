"""How far a box is from the one it should be."""

from __future__ import annotations

from torch import Tensor, nn

from poseplug.grouping.boxes import iou
from poseplug.models.losses.varifocal import weighted_sum
from poseplug.registry import MODELS


@MODELS.register_module()
class SquaredIoU(nn.Module):
    """1 minus the square of the share of their union that two boxes have in common (YOLOX, arXiv:2107.08430).

    A sum over boxes: divide it by the number of people.
    """

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Boxes (..., 4; x, y of two corners) twice and the weights (...) to one number."""
        return self.factor * weighted_sum(1 - iou(predicted.float(), wanted.float()).square(), weight)
