"""How far a predicted distribution is from the wanted one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poseplug.models.losses.regression import check_positive, weighted_mean
from poseplug.registry import MODELS


@MODELS.register_module()
class KLDivergence(nn.Module):
    """The divergence of the softmax of `beta` times the field from the wanted distribution, a mean over its bins.

    Of fields whose bins are whatever follows their channels. With `softmax_labels` the wanted numbers go through the
    same softmax (RTMPose: `beta` 10). Divided by all channels and pictures, weighted or not; other implementations sum
    over the pictures of a batch.
    """

    def __init__(self, beta: float = 1.0, softmax_labels: bool = False, factor: float = 1.0):
        super().__init__()
        check_positive('KLDivergence', beta=beta)
        self.beta, self.softmax_labels, self.factor = beta, softmax_labels, factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        chances = (self.beta * predicted.float()).flatten(2).log_softmax(dim=-1)
        truth = wanted.float().flatten(2)
        if self.softmax_labels:
            truth = (self.beta * truth).softmax(dim=-1)
        terms = torch.xlogy(truth, truth) - truth * chances
        return self.factor * weighted_mean(terms.view(predicted.shape), weight)


@MODELS.register_module()
class JensenShannon(nn.Module):
    """The mean divergence of two distributions from their middle, summed over their cells, the mean of all channels.

    Of fields that are distributions themselves (Nibali et al. 2018, arXiv:1801.07372, section 3.3); each channel is
    scaled to a sum of 1 first.
    """

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...), nowhere negative, and the weights (B, C) or (B, C, ...) to one number, at most ln 2."""
        p, q = (scaled(f.float().flatten(2)) for f in (predicted, wanted))
        middle = (p + q) / 2
        ends = torch.stack([p, q])
        terms = (ends * ((ends + TINY).log() - (middle + TINY).log())).mean(dim=0)
        return self.factor * terms.shape[-1] * weighted_mean(terms.view(predicted.shape), weight)


TINY = torch.finfo(torch.float32).tiny


def scaled(chances: Tensor) -> Tensor:
    """(B, C, n) with a sum of 1, or all 0."""
    total = chances.sum(dim=-1, keepdim=True)
    return chances / torch.where(total > TINY, total, 1.0)
