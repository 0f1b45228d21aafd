"""Distance of a predicted box from the target box."""

from __future__ import annotations

__all__ = ['SquaredIoULoss']

from torch import Tensor, nn

from poseplug.core.boxes import aligned_box_iou
from poseplug.core.setting_checks import check_not_negative
from poseplug.models.losses.base import weighted_sum
from poseplug.registry import MODELS


@MODELS.register_module()
class SquaredIoULoss(nn.Module):
    """1 minus the squared IoU of two boxes, summed over boxes (YOLOX: Ge et al. 2021, arXiv:2107.08430).

    The sum is meant to be divided by the number of instances.

    Args:
        loss_weight: Factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('SquaredIoULoss', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (..., 4), xyxy.
            target: (..., 4), xyxy.
            weight: (...), one per box; None for 1.

        Returns:
            One number.
        """
        # In single precision: areas of large boxes exceed the range of halves.
        return self.loss_weight * weighted_sum(1 - aligned_box_iou(predicted.float(), target.float()).square(), weight)
