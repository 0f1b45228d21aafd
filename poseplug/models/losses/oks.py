"""How unlike the annotated joints the predicted ones are, as COCO's metric measures it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.losses.varifocal import weighted_sum
from poseplug.registry import MODELS


@MODELS.register_module()
class OKS(nn.Module):
    """1 minus the similarity exp(-d² / (2 (2 sigma)²)) of each joint, over K (Maji et al. 2022, arXiv:2204.06806).

    Positions are shares of the root of the person's area. The sum over people, of whom each counts by the share of
    joints that have a weight: divide it by the number of people. `sigmas` are the skeleton's, one a joint.
    """

    sigmas: Tensor

    def __init__(self, sigmas: Sequence[float] | None, factor: float = 1.0):
        super().__init__()
        if sigmas is None:
            raise ConfigError('the loss OKS needs the sigmas of the joints, which the skeleton has not; give it some')
        self.factor = factor
        self.register_buffer('sigmas', torch.tensor(tuple(sigmas), dtype=torch.float32), persistent=False)

    def forward(self, predicted: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Tensor:
        """Joints (N, K, 2) twice and the weights (N, K) to one number."""
        away = (predicted.float() - wanted.float()).square().sum(dim=-1)
        alike = (away / (-8 * self.sigmas**2)).exp()
        return self.factor * weighted_sum(1 - alike, weight) / len(self.sigmas)
