"""Cross-entropies of scores: against a quality, and against yes or no."""

from __future__ import annotations

__all__ = ['BinaryCrossEntropy', 'VarifocalLoss']

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.setting_checks import check_not_negative, check_probabilities
from poseplug.models.losses.base import weighted_sum
from poseplug.registry import MODELS


@MODELS.register_module()
class VarifocalLoss(nn.Module):
    """Cross-entropy of scores whose target is a quality from 0 to 1 (Zhang et al. 2021, arXiv:2008.13367, eq. 2).

    A cell with a target above 0 counts as much as its target. A cell of the background counts alpha p^gamma for the
    predicted probability p, so that the many cells that are confidently background count little. The sum is meant to be
    divided by the number of instances.

    Args:
        alpha: Factor on the background.
        gamma: Exponent of the probability in the background.
        loss_weight: Factor on the loss.
    """

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('VarifocalLoss', loss_weight=loss_weight)
        check_probabilities('VarifocalLoss', alpha=alpha)
        check_not_negative('VarifocalLoss', gamma=gamma)
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...), logits.
            target: (B, C, ...), qualities from 0 to 1.
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number.
        """
        predicted, target = predicted.float(), target.float()
        # Detached: the weight of a cell is not trained to be small.
        background_weight = self.alpha * predicted.detach().sigmoid() ** self.gamma
        terms = F.binary_cross_entropy_with_logits(predicted, target, reduction='none')
        return self.loss_weight * weighted_sum(terms * torch.where(target > 0, target, background_weight), weight)


@MODELS.register_module()
class BinaryCrossEntropy(nn.Module):
    """Cross-entropy of probabilities: the mean over the numbers of an instance, and the sum over instances.

    Args:
        loss_weight: Factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('BinaryCrossEntropy', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (N, K, ...), logits.
            target: (N, K, ...), probabilities from 0 to 1.
            weight: (N, K) or (N, K, ...); None for 1.

        Returns:
            One number.
        """
        terms = F.binary_cross_entropy_with_logits(predicted.float(), target.float(), reduction='none')
        # terms[:1] is one instance: its number of terms, also where there is no instance.
        return self.loss_weight * weighted_sum(terms, weight) / max(terms[:1].numel(), 1)
