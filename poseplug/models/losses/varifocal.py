"""How sure a network is that something is there, against how well it found it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.models.losses.base import spread
from poseplug.registry import MODELS


@MODELS.register_module()
class Varifocal(nn.Module):
    """Cross-entropy of scores whose target is a quality from 0 to 1 (Zhang et al. 2021, arXiv:2008.13367, eq. 2).

    Where the target is above 0 it counts as much as the target; elsewhere `alpha` p^`gamma`, so that the many places
    where nothing is, and where the network p knows it, count little. A sum: divide it by the number of things there.
    """

    def __init__(self, alpha: float = 0.75, gamma: float = 2.0, factor: float = 1.0):
        super().__init__()
        self.alpha, self.gamma, self.factor = alpha, gamma, factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Logits (B, C, ...), qualities of that shape and weights (B, C) or (B, C, ...) to one number."""
        predicted, wanted = predicted.float(), wanted.float()
        missed = self.alpha * predicted.detach().sigmoid() ** self.gamma
        terms = F.binary_cross_entropy_with_logits(predicted, wanted, reduction='none')
        return self.factor * weighted_sum(terms * torch.where(wanted > 0, wanted, missed), weight)


@MODELS.register_module()
class BinaryCrossEntropy(nn.Module):
    """Cross-entropy of yes-or-no questions: the mean over those of a person, and the sum over people."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Logits (N, K, ...), answers from 0 to 1 and weights (N, K) or (N, K, ...) to one number."""
        terms = F.binary_cross_entropy_with_logits(predicted.float(), wanted.float(), reduction='none')
        return self.factor * weighted_sum(terms, weight) / max(terms[:1].numel(), 1)


def weighted_sum(terms: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of (B, C, ...) after weighting; 0 of nothing."""
    return (terms if weight is None else terms * spread(weight, terms)).sum()
