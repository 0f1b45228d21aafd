"""Joints and how far each may be off, for residual log-likelihood estimation (Li et al. 2021, arXiv:2107.11291)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.models.heads.base import Head
from poseplug.models.heads.regression import PointLayers, check_numbers
from poseplug.registry import MODELS


@MODELS.register_module()
class RLEHead(Head):
    """x, y and the spreads of both, within 0 and 1, by one layer on the mean of the last feature map."""

    predicts: ClassVar[tuple[str, ...]] = ('points',)

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        check_numbers('RLEHead', shapes, 4, 'set model.codec.type to RLERegression, or take RegressionHead')
        self.points = PointLayers(in_channels[-1], shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        fields = self.points(features[-1].mean(dim=(2, 3)))
        return [{n: torch.cat([f[..., :2], f[..., 2:].sigmoid()], dim=-1) for n, f in fields.items()}]
