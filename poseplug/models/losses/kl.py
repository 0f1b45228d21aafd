"""Divergences of a predicted distribution from the target distribution."""

from __future__ import annotations

__all__ = ['JensenShannon', 'KLDivergence']

import torch
from torch import Tensor, nn

from poseplug.core.setting_checks import check_not_negative, check_positive
from poseplug.models.losses.base import weighted_mean
from poseplug.registry import MODELS

_TINY = torch.finfo(torch.float32).tiny


@MODELS.register_module()
class KLDivergence(nn.Module):
    """Kullback-Leibler divergence of the softmax of a field from the target distribution, as a mean over its bins.

    The bins of a channel are all its cells. The sum is divided by all channels and images, weighted or not; other
    implementations sum over the images of a batch.

    Args:
        beta: Factor on the field before the softmax.
        label_softmax: Whether the target also passes `beta` and softmax, as in RTMPose with `beta` 10.
        loss_weight: Factor on the loss.

    Raises:
        ConfigError: `beta` is not positive.
    """

    def __init__(self, beta: float = 1.0, label_softmax: bool = False, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('KLDivergence', loss_weight=loss_weight)
        check_positive('KLDivergence', beta=beta)
        self.beta, self.label_softmax, self.loss_weight = beta, label_softmax, loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...), logits.
            target: (B, C, ...), probabilities, or logits with `label_softmax`.
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number; 0 for an empty batch.
        """
        log_probs = (self.beta * predicted.float()).flatten(2).log_softmax(dim=-1)
        labels = target.float().flatten(2)
        if self.label_softmax:
            labels = (self.beta * labels).softmax(dim=-1)
        terms = torch.xlogy(labels, labels) - labels * log_probs  # xlogy(0, 0) is 0
        return self.loss_weight * weighted_mean(terms.view(predicted.shape), weight)


@MODELS.register_module()
class JensenShannon(nn.Module):
    """Jensen-Shannon divergence: the mean divergence of two distributions from their average.

    For fields that are distributions themselves (Nibali et al. 2018, arXiv:1801.07372, section 3.3). Every channel is
    scaled to a sum of 1 first. Divergences are summed over cells and averaged over channels.

    Args:
        loss_weight: Factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        check_not_negative('JensenShannon', loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(self, predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            predicted: (B, C, ...), nowhere negative.
            target: (B, C, ...), nowhere negative.
            weight: (B, C) or (B, C, ...); None for 1.

        Returns:
            One number, at most `loss_weight` ln 2.
        """
        p, q = (_normalize_sum(field.float().flatten(2)) for field in (predicted, target))
        average = (p + q) / 2
        pair = torch.stack([p, q])
        # _TINY keeps the logarithms, and their gradients, finite in empty cells.
        # (2, B, C, cells), and their mean over the pair
        terms = (pair * ((pair + _TINY).log() - (average + _TINY).log())).mean(dim=0)
        num_cells = terms.shape[-1]
        return self.loss_weight * num_cells * weighted_mean(terms.view(predicted.shape), weight)


def _normalize_sum(probs: Tensor) -> Tensor:
    """(B, C, n) with a sum of 1, or all 0."""
    total = probs.sum(dim=-1, keepdim=True)
    return probs / torch.where(total > _TINY, total, 1.0)
