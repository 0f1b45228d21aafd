"""What one-stage heads share, which predict an instance at every cell: grid points, boxes and towers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act

OneStageFields = dict[str, Tensor]


class OneStageHead(Head):
    """A head that predicts an instance at every cell of every level.

    Its stage has these fields, for A cells of all levels, finest level first and row by row. Positions are input px. A
    cell g of stride s stands at the middle of its pixels, s * (g + 0.5) - 0.5.

    - 'score' (B, A): logits;
    - 'raw' (B, A, 4): boxes as the network predicts them;
    - 'box' (B, A, 4): boxes, xyxy;
    - 'proxy' (B, A, K, 2): keypoints by direct offsets;
    - 'visible' (B, A, K): logits of the keypoints' visibility;
    - 'points' (A, 2): positions of the cells;
    - 'strides' (A,): strides of the cells.
    """

    field_kinds: ClassVar[tuple[str, ...]] = ('instances',)
    strides: tuple[int, ...]

    @abstractmethod
    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        """Decode the keypoints of selected cells.

        Args:
            instances: The fields of N cells, each (N, ...).

        Returns:
            (N, K, 2), input px.
        """

    def predict_keypoint_sigmas(self, instances: Mapping[str, Tensor]) -> Tensor | None:
        """Predict how uncertain the keypoints of selected cells are.

        Args:
            instances: The fields of N cells, each (N, ...).

        Returns:
            (N, K), input px along an axis; None if the head predicts no uncertainty.
        """
        return None


def build_grid_points(
    grid_sizes: Sequence[Sequence[int]], strides: Sequence[int], like: Tensor, cell_offset: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Compute where the cells of all levels stand.

    Args:
        grid_sizes: (rows, columns) of every level.
        strides: Stride of every level.
        like: A tensor on the device of the results.
        cell_offset: Where a cell stands between its first pixel's border, 0, and its last pixel's, 1.

    Returns:
        (A, 2), positions in input px, and (A,), strides.
    """
    points, cell_strides = [], []
    for (rows, columns), stride in zip(grid_sizes, strides, strict=True):
        # By default the middle of a cell's pixels; pixel centers sit on integers.
        y = (torch.arange(rows, device=like.device, dtype=torch.float32) + cell_offset) * stride - 0.5
        x = (torch.arange(columns, device=like.device, dtype=torch.float32) + cell_offset) * stride - 0.5
        grid = torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns)], dim=-1)
        points.append(grid.flatten(0, 1))
        cell_strides.append(torch.full((rows * columns,), float(stride), device=like.device))
    return torch.cat(points), torch.cat(cell_strides)


def decode_boxes(raw_boxes: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Decode the boxes of cells.

    Args:
        raw_boxes: (B, A, 4), offsets of the center and logarithms of width and height, both in strides.
        points: (A, 2), positions of the cells in px.
        strides: (A,), strides of the cells.

    Returns:
        (B, A, 4), xyxy in px.
    """
    center = points + raw_boxes[..., :2] * strides[:, None]
    # Clamped, so that the exponential stays finite.
    half_size = raw_boxes[..., 2:].clamp(max=10).exp() * strides[:, None] / 2
    return torch.cat([center - half_size, center + half_size], dim=-1)


def decode_offsets(offsets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Decode the keypoints that cells predict by direct offsets.

    Args:
        offsets: (B, A, 2 K), x and y of every keypoint relative to the cell, in strides.
        points: (A, 2), positions of the cells in px.
        strides: (A,), strides of the cells.

    Returns:
        (B, A, K, 2) in px.
    """
    return points[:, None] + offsets.unflatten(2, (-1, 2)) * strides[:, None, None]


def flatten_levels(features: Sequence[Tensor]) -> Tensor:
    """Concatenate the cells of all levels, each (B, C, H, W): (B, A, C) in single precision."""
    # In single precision: boxes and keypoints are differences of positions up to the size of the input.
    return torch.cat([level.flatten(2).transpose(1, 2).float() for level in features], dim=1)


def predict_levels(convs: Iterable[nn.Module], features: Iterable[Tensor]) -> Tensor:
    """Apply one convolution per level, and concatenate the cells of all levels.

    Args:
        convs: A convolution per level.
        features: Features of every level, each (B, C, H, W).

    Returns:
        (B, A, outputs) in single precision.
    """
    return flatten_levels([conv(level) for conv, level in zip(convs, features, strict=True)])


def build_towers(
    num_levels: int, channels: int, layers: LayerBuilder = DEFAULT_LAYERS, depth: int = 2
) -> nn.ModuleList:
    """Build `depth` 3x3 convolutions per level, with as many outputs as inputs."""
    return nn.ModuleList(
        nn.Sequential(*(conv_bn_act(channels, channels, 3, layers=layers) for _ in range(depth)))
        for _ in range(num_levels)
    )


def build_output_convs(num_levels: int, in_channels: int, output_channels: Mapping[str, int]) -> Any:
    """Build a 1x1 convolution per output and level.

    Args:
        num_levels: Number of levels.
        in_channels: Channels of the input.
        output_channels: Names and channels of the outputs. The bias of 'score' starts at a probability of 1 in 100.

    Returns:
        A ModuleDict by output, of ModuleLists by level.
    """
    convs: Any = nn.ModuleDict(
        {
            name: nn.ModuleList(nn.Conv2d(in_channels, n, 1) for _ in range(num_levels))
            for name, n in output_channels.items()
        }
    )
    init_convolutions(convs, 0.01)
    # sigmoid(-ln 99) = 0.01: most cells are background (the prior of focal loss, Lin et al. 2017, arXiv:1708.02002).
    for conv in convs['score'] if 'score' in output_channels else ():
        nn.init.constant_(conv.bias, -math.log(99))
    return convs


def list_output_axes(name: str, convs: nn.Module) -> list[FieldAxis]:
    """List the axes of the keypoints in what `build_output_convs` has built.

    Args:
        name: Of the convolutions in their head.
        convs: The convolutions, with the outputs 'proxy' (x and y of every keypoint) and 'visible'.
    """
    numbers_per_keypoint = {'proxy': 2, 'visible': 1}
    return [
        FieldAxis(f'{name}.{tensor}', 0, ('keypoints',), repeats=numbers_per_keypoint[output])
        for tensor, _ in convs.named_parameters()
        if (output := tensor.partition('.')[0]) in numbers_per_keypoint
    ]
