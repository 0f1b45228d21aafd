"""Distances between predicted and wanted numbers, such as joints as shares of the input."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.errors import ConfigError
from poseplug.models.losses.base import spread
from poseplug.registry import MODELS


@MODELS.register_module()
class L1(nn.Module):
    """The mean of absolute differences, times `factor`."""

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        return self.factor * weighted_mean((predicted.float() - wanted.float()).abs(), weight)


@MODELS.register_module()
class SmoothL1(nn.Module):
    """The mean of absolute differences, squared where they are below `edge` (Girshick 2015, arXiv:1504.08083).

    A difference d costs d² / (2 edge) below it, and d - edge / 2 above. `edge` is in the units of the field.
    """

    def __init__(self, edge: float = 1.0, factor: float = 1.0):
        super().__init__()
        check_positive('SmoothL1', edge=edge)
        self.edge, self.factor = edge, factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        terms = F.smooth_l1_loss(predicted.float(), wanted.float(), reduction='none', beta=self.edge)
        return self.factor * weighted_mean(terms, weight)


@MODELS.register_module()
class Wing(nn.Module):
    """A loss that weighs small differences more (Feng et al. 2018, arXiv:1711.06753, eq. 5).

    A difference d costs w ln(1 + d / e) below w = `width`, with e = `curve`, and beyond it d plus what makes both meet.
    Both are in the units of the field: the paper's 10 and 2 are pixels.
    """

    def __init__(self, width: float = 10.0, curve: float = 2.0, factor: float = 1.0):
        super().__init__()
        check_positive('Wing', width=width, curve=curve)
        self.width, self.curve, self.factor = width, curve, factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        away = (predicted.float() - wanted.float()).abs()
        near = self.width * (away.clamp(max=self.width) / self.curve).log1p()
        return self.factor * weighted_mean(near + (away - self.width).clamp(min=0), weight)


def weighted_mean(terms: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of (B, C, ...) after weighting; what has no weight stays in the denominator. 0 for an empty batch."""
    if weight is not None:
        terms = terms * spread(weight, terms)
    return terms.sum() / max(terms.numel(), 1)


def check_positive(part: str, **settings: float) -> None:
    """Widths of a loss are positive numbers."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ConfigError(f'{part}: {name} is a positive number; got {value}')
