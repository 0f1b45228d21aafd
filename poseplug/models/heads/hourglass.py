"""Stacked hourglasses with predictions in between (Newell et al. 2016, arXiv:1603.06937; released training code)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.backbones.hourglass import Residual, Stack
from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class HourglassHead(Head):
    """Every stack predicts all fields; the next one sees what it saw, what it made of it, and its predictions.

    Both are added after a 1x1 convolution each; `remap=False` leaves the predictions out. It reads the last feature map
    of the codec's stride, through a residual where this map has other `channels`. `depth` is how often an hourglass
    halves the map, `modules` how many residuals stand at each of its places.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        stacks: int = 8,
        channels: int = 256,
        depth: int = 4,
        modules: int = 1,
        remap: bool = True,
    ):
        super().__init__()
        if stacks < 1:
            raise ConfigError(f'HourglassHead needs at least one stack; got stacks={stacks}')
        self.stages, self.stride, self.fields = stacks, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.place = maps_of_stride('HourglassHead', in_channels, strides, stride)[-1]
        width, count = in_channels[self.place], sum(fields.values())
        self.enter = nn.Identity() if width == channels else Residual(width, channels)
        self.stacks = nn.ModuleList(Stack(channels, depth, modules) for _ in range(stacks))
        self.merges = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.remaps = nn.ModuleList(nn.Conv2d(count, channels, 1) for _ in range(stacks - 1 if remap else 0))
        init_convolutions(self)
        self.predict = nn.ModuleList(FieldConvs(channels, fields) for _ in range(stacks))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        seen = self.enter(features[self.place])
        stages: list[dict[str, Tensor]] = []
        for t, (stack, predict) in enumerate(zip(self.stacks, self.predict, strict=True)):
            made = stack(seen)
            stages.append(predict(made))
            if t < len(self.merges):
                seen = seen + self.merges[t](made)
            if t < len(self.remaps):
                seen = seen + self.remaps[t](torch.cat(list(stages[-1].values()), dim=1))
        return stages
