"""Online hard keypoint mining (Chen et al. 2018, arXiv:1711.07319, section 3.3)."""

from __future__ import annotations

__all__ = ['OHKMLoss']

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts, check_not_negative
from poseplug.models.losses.base import apply_weight
from poseplug.registry import MODELS


@MODELS.register_module()
class OHKMLoss(nn.Module):
    """The mean squared error of the hardest keypoints of every image.

    An image with fewer weighted keypoints than `topk` is still divided by `topk`, as in the released code.

    Args:
        topk: Number of keypoints that count.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: `topk` is less than 1.
    """

    def __init__(self, topk: int = 8, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('OHKMLoss', loss_weight=loss_weight)
        check_counts('OHKMLoss', topk=topk)
        self.topk, self.loss_weight = topk, loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...).
            target: (B, C, ...).
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.

        Raises:
            ConfigError: The fields have fewer channels than `topk`.
        """
        if predicted.shape[1] < self.topk:
            raise ConfigError(
                f'OHKMLoss counts the {self.topk} hardest channels, but the field has {predicted.shape[1]}; set '
                f'model.loss.topk to {predicted.shape[1]} or less'
            )
        # Weighted before the choice: unlabeled keypoints are 0 and are chosen last.
        squares = apply_weight((predicted.float() - target.float()).square(), weight)
        # (B, topk)
        hardest = squares.flatten(2).mean(dim=2).topk(self.topk, dim=1).values
        return self.loss_weight * hardest.sum() / max(hardest.numel(), 1)
