"""Keypoints and their scatter, for residual log-likelihood estimation (Li et al. 2021, arXiv:2107.11291)."""

from __future__ import annotations

__all__ = ['RLEHead']

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.models.heads.regression import RegressionHead
from poseplug.registry import MODELS


@MODELS.register_module()
class RLEHead(RegressionHead):
    """x, y and the sigmas of both, between 0 and 1, by one linear layer on the mean of the last feature map.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, 4) of every field; provided by the codec.

    Raises:
        MismatchError: A field has another shape.
    """

    num_values: ClassVar[int] = 4
    mismatch_hint: ClassVar[str] = 'set model.codec.type to RLERegression, or use RegressionHead'

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        (fields,) = super().forward(features)
        # A sigma is a fraction of the input, hence below 1; the sigmoid keeps it positive for the logarithm.
        return [{n: torch.cat([f[..., :2], f[..., 2:].sigmoid()], dim=-1) for n, f in fields.items()}]
