"""Limbs first, then joints, by dense blocks (Cao et al. 2019, arXiv:1812.08008, figure 3; the released BODY_25)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.layers import conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class PAFStagesHead(Head):
    """`limb_stages` predict the field `limbs` alone, then `joint_stages` all other fields, from the last limbs.

    Each reads the picture (the last feature map of the codec's stride) and what the one of its kind before it made of
    it. It has `blocks` dense blocks and a 1x1 convolution; `first` gives the channels of a dense block's convolutions
    and of that 1x1 in the first stage of a kind, `later` in the others.

    A stage returns the fields that it predicts, and every prediction is returned once: the last limbs stand in the
    last stage, beside the last joints. Of a codec without `limbs` there are the joint stages alone, and of a codec with
    nothing else the limb stages.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        limb_stages: int = 4,
        joint_stages: int = 2,
        first: tuple[int, int] = (96, 256),
        later: tuple[int, int] = (128, 512),
        blocks: int = 5,
        limbs: str = 'paf',
    ):
        super().__init__()
        if limb_stages < 1 or joint_stages < 1 or blocks < 1:
            raise ConfigError(
                f'PAFStagesHead needs at least one limb stage, joint stage and block; got {limb_stages=}, '
                f'{joint_stages=}, {blocks=}'
            )
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.place = maps_of_stride('PAFStagesHead', in_channels, strides, stride)[-1]
        seen, sizes = in_channels[self.place], (first, later, blocks)
        early = {name: n for name, n in fields.items() if name == limbs}
        late = {name: n for name, n in fields.items() if name != limbs}
        self.limb_steps = steps(seen, early, limb_stages, *sizes)
        self.joint_steps = steps(seen + sum(early.values()), late, joint_stages, *sizes)
        self.stages = len(self.limb_steps) + len(self.joint_steps) - bool(early and late)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        seen = features[self.place]
        limbs = predictions(self.limb_steps, seen)
        joints = predictions(self.joint_steps, seen, *(limbs[-1].values() if limbs else ()))
        if not (limbs and joints):
            return limbs or joints
        return [*limbs[:-1], *joints[:-1], {**limbs[-1], **joints[-1]}]


def steps(
    channels: int, fields: dict[str, int], count: int, first: tuple[int, int], later: tuple[int, int], blocks: int
) -> nn.ModuleList:
    """Stages of one kind: the first reads `channels`, the others the fields before them as well; none of no field."""
    made = nn.ModuleList()
    for t in range(count if fields else 0):
        width, hidden = later if t else first
        inputs = channels + (sum(fields.values()) if t else 0)
        dense = [DenseBlock(inputs if i == 0 else 3 * width, width) for i in range(blocks)]
        made.append(nn.Sequential(*dense, conv_prelu(3 * width, hidden, 1), FieldConvs(hidden, fields, init_std=0.01)))
    return made


def predictions(stages: nn.ModuleList, seen: Tensor, *given: Tensor) -> list[dict[str, Tensor]]:
    """The fields of every stage, whose input are the features, the fields of the stage before it and those `given`."""
    made: list[dict[str, Tensor]] = []
    for stage in stages:
        last = made[-1].values() if made else ()
        made.append(stage(torch.cat([seen, *last, *given], dim=1)))
    return made


class DenseBlock(nn.Module):
    """Three 3x3 convolutions in a row, each with a PReLU; the outputs of all three side by side."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.convs = nn.ModuleList(conv_prelu(channels if i == 0 else width, width, 3) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, 3 width, H, W)."""
        made = []
        for conv in self.convs:
            x = conv(x)
            made.append(x)
        return torch.cat(made, dim=1)


def conv_prelu(channels: int, out: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the size and a ReLU whose slope below 0 is learnt, one a channel (0.25 at first)."""
    block = nn.Sequential(*conv_block(channels, out, kernel, activation=None), nn.PReLU(out))
    init_convolutions(block)
    return block
