"""Squared differences between predicted and target fields."""

from __future__ import annotations

__all__ = ['MeanSquaredError', 'SumSquaredError']

from torch import Tensor, nn

from poseplug.core.setting_checks import check_not_negative
from poseplug.models.losses.base import apply_weight, expand_weight
from poseplug.registry import MODELS


@MODELS.register_module()
class SumSquaredError(nn.Module):
    """Half the sum of squares over channels and cells, per image (Caffe's Euclidean loss; Wei et al. 2016, eq. 4).

    It is C·H·W / 2 times a mean over all B·C·H·W numbers, so learning rates cannot be transferred between the two.
    """

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        squares = apply_weight((predicted.float() - target.float()).square(), weight)
        return squares.sum() / (2 * max(len(predicted), 1))


@MODELS.register_module()
class MeanSquaredError(nn.Module):
    """The mean of squares over cells and channels, with channels weighted before the mean.

    HRNet and SimpleBaseline use `loss_weight=0.5`. Channels without weight stay in the mean's denominator, so that all
    images count the same.

    Args:
        loss_weight: Factor on the loss.
        skip_empty_channel: Whether to ignore channels whose target is 0 everywhere.
    """

    def __init__(self, loss_weight: float = 1.0, skip_empty_channel: bool = False):
        super().__init__()
        check_not_negative('MeanSquaredError', loss_weight=loss_weight)
        self.loss_weight, self.skip_empty_channel = loss_weight, skip_empty_channel

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        squares = apply_weight((predicted.float() - target.float()).square(), weight)
        if self.skip_empty_channel:
            # One number per image and channel: (B, C).
            is_used = (target != 0).flatten(2).any(dim=2)
            squares = squares * expand_weight(is_used, squares)
        return self.loss_weight * squares.sum() / max(squares.numel(), 1)
