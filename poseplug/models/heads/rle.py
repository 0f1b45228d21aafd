"""Keypoints and their scatter, for residual log-likelihood estimation (Li et al. 2021, arXiv:2107.11291)."""

from __future__ import annotations

__all__ = ['RLEHead']

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.regression import PointLayers, check_point_shapes
from poseplug.registry import MODELS


@MODELS.register_module()
class RLEHead(Head):
    """x, y and the sigmas of both, between 0 and 1, by one linear layer on the mean of the last feature map.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, 4) of every field; provided by the codec.

    Raises:
        MismatchError: A field has another shape.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes')
    field_kinds: ClassVar[tuple[str, ...]] = ('points',)

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        check_point_shapes('RLEHead', shapes, 4, 'set model.codec.type to RLERegression, or use RegressionHead')
        self.points = PointLayers(in_channels[-1], shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        fields = self.points(features[-1].mean(dim=(2, 3)))
        # A sigma is a fraction of the input, hence below 1; the sigmoid keeps it positive for the logarithm.
        return [{n: torch.cat([f[..., :2], f[..., 2:].sigmoid()], dim=-1) for n, f in fields.items()}]

    def list_field_axes(self) -> list[FieldAxis]:
        return self.points.list_axes('points')
