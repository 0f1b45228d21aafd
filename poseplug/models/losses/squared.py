"""Squared differences between predicted and wanted fields."""

from __future__ import annotations

from torch import Tensor, nn

from poseplug.models.losses.base import spread
from poseplug.registry import MODELS


@MODELS.register_module()
class SumSquaredError(nn.Module):
    """The sum of squares over maps and cells, halved, per picture (Caffe's Euclidean loss; Wei et al. 2016, eq. 4).

    Against a mean over all B·C·H·W numbers it is C·H·W / 2 times larger: learning rates are not portable.
    """

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        squares = (predicted.float() - wanted.float()).square()
        if weight is not None:
            squares = squares * spread(weight, squares)
        return squares.sum() / (2 * max(len(predicted), 1))


@MODELS.register_module()
class MeanSquaredError(nn.Module):
    """The mean of squares over cells and channels, with channels weighted before the mean, times `factor`.

    HRNet and SimpleBaseline halve it (`factor=0.5`). With `skip_empty` a channel that should be 0 everywhere is left
    out. Channels without weight stay in the mean's denominator, so that every picture counts alike.
    """

    def __init__(self, factor: float = 1.0, skip_empty: bool = False):
        super().__init__()
        self.factor, self.skip_empty = factor, skip_empty

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        squares = (predicted.float() - wanted.float()).square()
        if weight is not None:
            squares = squares * spread(weight, squares)
        if self.skip_empty:
            squares = squares * spread((wanted != 0).flatten(2).any(dim=2), squares)
        return self.factor * squares.sum() / max(squares.numel(), 1)
