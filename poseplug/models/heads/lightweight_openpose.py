"""OpenPose for processors (Osokin 2018, arXiv:1811.12004): branches that share all but their last two layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.heads.openpose import Branches, refine
from poseplug.models.layers import conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class LightweightOpenPoseHead(Head):
    """The picture in few channels, a first prediction of all fields from it, and `stages - 1` refined ones.

    Stage 1 is three 3x3 convolutions, a later one `blocks` residual blocks that see as far as 7x7 convolutions; of
    either, each field has a 1x1 convolution to `hidden[0]` (stage 1) or `hidden[1]` channels and a linear one of its
    own. It reads the last feature map of the codec's stride, and the later stages the fields before them.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        stages: int = 2,
        channels: int = 128,
        hidden: tuple[int, int] = (512, 128),
        blocks: int = 5,
    ):
        super().__init__()
        if stages < 1 or blocks < 1:
            raise ConfigError(f'LightweightOpenPoseHead needs at least one stage and block; got {stages=}, {blocks=}')
        self.stages, self.stride, self.fields = stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.place = maps_of_stride('LightweightOpenPoseHead', in_channels, strides, stride)[-1]
        self.reduce = Reduction(in_channels[self.place], channels)
        first = nn.Sequential(*(conv_block(channels, channels, 3) for _ in range(3)))
        init_convolutions(first)
        self.steps = nn.ModuleList([nn.Sequential(first, Branches(channels, fields, ((1, hidden[0]),)))])
        refined = channels + sum(fields.values())
        for _ in range(stages - 1):
            trunk = [RefinementBlock(channels if i else refined, channels) for i in range(blocks)]
            self.steps.append(nn.Sequential(*trunk, Branches(channels, fields, ((1, hidden[1]),))))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return refine(self.steps, self.reduce(features[self.place]))


class Reduction(nn.Module):
    """A 1x1 convolution to fewer channels, three depthwise separable ones with ELU beside a shortcut, and a 3x3."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.enter = conv_block(channels, out, 1)
        layers: list[nn.Module] = []
        for _ in range(3):
            layers.append(conv_block(out, out, 3, groups=out, activation=nn.ELU))
            layers.append(conv_block(out, out, 1, activation=nn.ELU))
        self.conv = nn.Sequential(*layers)
        self.leave = conv_block(out, out, 3)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return self.leave(x + self.conv(x))


class RefinementBlock(nn.Module):
    """1x1, then a 3x3 and a dilated 3x3 convolution beside a shortcut: together they see 7x7 cells."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.enter = conv_block(channels, out, 1)
        dilated = nn.Conv2d(out, out, 3, padding=2, dilation=2, bias=False)
        self.conv = nn.Sequential(
            conv_block(out, out, 3, 'BN'), nn.Sequential(dilated, nn.BatchNorm2d(out), nn.ReLU(inplace=True))
        )
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.conv(x)
