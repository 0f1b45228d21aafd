"""What heads share that predict a person at every cell: grid points, boxes, and the towers that lead there."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poseplug.models.heads.base import Head
from poseplug.models.layers import init_convolutions

Fields = dict[str, Tensor]


class OneStageHead(Head):
    """A person at every cell of every level.

    The fields of a stage, for A cells of all levels, finest first and row by row: 'score' (B, A), a logit; 'raw' (B, A,
    4), the box as the network gives it; 'box' (B, A, 4), x, y of two corners; 'proxy' (B, A, K, 2), joints by direct
    offsets; 'visible' (B, A, K), logits; 'points' (A, 2), where the cells stand; 'strides' (A,). Positions are input
    px. A cell of stride s stands at its middle, s * (g + 0.5) - 0.5.
    """

    predicts: ClassVar[tuple[str, ...]] = ('people',)
    strides: tuple[int, ...]

    @abstractmethod
    def joints(self, people: Mapping[str, Tensor]) -> Tensor:
        """The joints (N, K, 2), input px, of cells chosen from the fields: each field (N, ...)."""


def grid_points(sizes: Sequence[Sequence[int]], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cells of levels of so many (rows, columns) stand, (A, 2) px, and their strides (A,)."""
    points, steps = [], []
    for (rows, columns), stride in zip(sizes, strides, strict=True):
        y = (torch.arange(rows, device=like.device, dtype=torch.float32) + 0.5) * stride - 0.5
        x = (torch.arange(columns, device=like.device, dtype=torch.float32) + 0.5) * stride - 0.5
        points.append(torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1).flatten(0, 1))
        steps.append(torch.full((rows * columns,), float(stride), device=like.device))
    return torch.cat(points), torch.cat(steps)


def boxes_of(raw: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Boxes (B, A, 4; x, y of two corners, px) of offsets and logarithms of sizes (B, A, 4), both in strides."""
    middle = points + raw[..., :2] * strides[:, None]
    half = raw[..., 2:].clamp(max=10).exp() * strides[:, None] / 2
    return torch.cat([middle - half, middle + half], dim=-1)


def flat(maps: Sequence[Tensor]) -> Tensor:
    """Maps of all levels (B, C, H, W) as cells (B, A, C), in single precision."""
    return torch.cat([m.flatten(2).transpose(1, 2).float() for m in maps], dim=1)


def predictors(levels: int, channels: int, outputs: Mapping[str, int]) -> Any:
    """A 1x1 convolution for every output and level; scores start by thinking one cell in 100 right."""
    layers: Any = nn.ModuleDict(
        {name: nn.ModuleList(nn.Conv2d(channels, n, 1) for _ in range(levels)) for name, n in outputs.items()}
    )
    init_convolutions(layers, 0.01)
    for layer in layers['score'] if 'score' in outputs else ():
        nn.init.constant_(layer.bias, -math.log(99))
    return layers
