"""Online hard keypoint mining (Chen et al. 2018, arXiv:1711.07319, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.losses.base import spread
from poseplug.registry import MODELS


@MODELS.register_module()
class OHKM(nn.Module):
    """The mean squared error of the `top` hardest joints of every picture, times `factor`.

    A picture with fewer weighted joints than `top` is still divided by `top`, as in the released code.
    """

    def __init__(self, top: int = 8, factor: float = 1.0):
        super().__init__()
        if top < 1:
            raise ConfigError(f'OHKM keeps at least one joint of a picture; got top={top}')
        self.top, self.factor = top, factor

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Two (B, C, ...) and the weights (B, C) or (B, C, ...) to one number; 0 for an empty batch."""
        if predicted.shape[1] < self.top:
            raise ConfigError(
                f'OHKM keeps the {self.top} hardest channels, but the field has {predicted.shape[1]}; set '
                f'model.loss.top to {predicted.shape[1]} or less'
            )
        squares = (predicted.float() - wanted.float()).square()
        if weight is not None:
            squares = squares * spread(weight, squares)
        hardest = squares.flatten(2).mean(dim=2).topk(self.top, dim=1).values
        return self.factor * hardest.sum() / max(hardest.numel(), 1)
