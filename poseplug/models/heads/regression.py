"""Joints as plain numbers of the whole picture (Toshev and Szegedy 2014, arXiv:1312.4659)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.errors import MismatchError
from poseplug.models.heads.base import Head
from poseplug.registry import MODELS


@MODELS.register_module()
class RegressionHead(Head):
    """x and y of every joint, by one layer on the mean of the last feature map."""

    predicts: ClassVar[tuple[str, ...]] = ('points',)

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], shapes: Mapping[str, tuple[int, ...]]):
        super().__init__()
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        check_numbers('RegressionHead', shapes, 2, 'set model.codec.type to Regression, or take RLEHead')
        self.points = PointLayers(in_channels[-1], shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [self.points(features[-1].mean(dim=(2, 3)))]


class PointLayers(nn.ModuleDict):
    """One layer a field: vectors (B, C) to fields (B, K, numbers)."""

    def __init__(self, channels: int, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__({name: nn.Linear(channels, shape[0] * shape[1]) for name, shape in shapes.items()})
        self.joints = {name: shape[0] for name, shape in shapes.items()}
        for layer in self.children():
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, means: Tensor) -> dict[str, Tensor]:
        return {name: layer(means).unflatten(1, (self.joints[name], -1)) for name, layer in self.items()}


def check_numbers(part: str, shapes: Mapping[str, tuple[int, ...]], count: int, remedy: str) -> None:
    """Every field must have so many numbers a joint."""
    if any(len(shape) != 2 or shape[1] != count for shape in shapes.values()):
        raise MismatchError(
            f'{part} gives every joint {count} numbers, but the codec reads {dict(shapes)}, (joints, numbers); {remedy}'
        )
