"""Branches side by side that refine one another's fields (Cao et al. 2017, arXiv:1611.08050, figure 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.layers import Layer, conv_stack, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class OpenPoseHead(Head):
    """One branch a field; each stage after the first reads the picture and what all branches made of it before.

    Layers are (kernel, channels): `first` are those of a branch of stage 1, `later` those of every other stage; a
    linear 1x1 convolution follows. The branches read the fields in the codec's order, then the picture, which is the
    last feature map of the codec's stride.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        stages: int = 6,
        first: Sequence[Layer] = ((3, 128), (3, 128), (3, 128), (1, 512)),
        later: Sequence[Layer] = ((7, 128), (7, 128), (7, 128), (7, 128), (7, 128), (1, 128)),
        norm: str | None = None,
        init_std: float | None = 0.01,
    ):
        super().__init__()
        if stages < 1:
            raise ConfigError(f'OpenPoseHead needs at least one stage; got stages={stages}')
        self.stages, self.stride, self.fields = stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.place = maps_of_stride('OpenPoseHead', in_channels, strides, stride)[-1]
        seen = in_channels[self.place]
        refined = seen + sum(fields.values())
        self.steps = nn.ModuleList([Branches(seen, fields, first, norm, init_std)])
        self.steps.extend(Branches(refined, fields, later, norm, init_std) for _ in range(stages - 1))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return refine(self.steps, features[self.place])


class Branches(nn.ModuleDict):
    """One stack of layers a field, each with its own linear 1x1 convolution at the end, whose weights start near 0."""

    def __init__(
        self,
        channels: int,
        fields: Mapping[str, int],
        layers: Sequence[Layer],
        norm: str | None = None,
        init_std: float | None = None,
    ):
        super().__init__()
        for name, count in fields.items():
            stack, width = conv_stack(channels, layers, norm)
            init_convolutions(stack, init_std)
            predict = nn.Conv2d(width, count, 1)
            init_convolutions(predict, 0.01)
            self[name] = nn.Sequential(*stack, predict)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, H, W) to fields, each (B, its channels, H, W)."""
        return {name: branch(maps) for name, branch in self.items()}


def refine(steps: Iterable[nn.Module], seen: Tensor) -> list[dict[str, Tensor]]:
    """The fields of every step, whose input are the fields of the step before it and the features (B, C, H, W)."""
    stages: list[dict[str, Tensor]] = []
    for step in steps:
        before = stages[-1].values() if stages else ()
        stages.append(step(torch.cat([*before, seen], dim=1)))
    return stages
