"""Limb fields first, then heatmaps, by dense blocks (Cao et al. 2019, arXiv:1812.08008, figure 3; released BODY_25)."""

from __future__ import annotations

__all__ = ['PAFStagesHead']

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.heads.base import Head, find_stride_indices
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.layers.conv import conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class PAFStagesHead(Head):
    """Limb stages, which predict the limb field alone, then keypoint stages, which predict all other fields.

    Each stage reads the image features (the last feature map of the codec's stride) and the fields of the stage of its
    kind before it; keypoint stages also read the last limb field. A stage has dense blocks and two 1x1 convolutions.

    A stage returns the fields that it predicts, and every prediction is returned once: the last limb field is part of
    the last stage, beside the last other fields. For a codec without a limb field there are only keypoint stages, and
    for a codec with nothing else only limb stages.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_limb_stages: Number of limb stages.
        num_keypoint_stages: Number of keypoint stages.
        first_channels: Channels of the convolutions of a dense block and of the first 1x1 convolution, in the first
            stage of a kind.
        later_channels: The same in the other stages.
        num_blocks: Number of dense blocks of a stage.
        limb_field: Name of the limb field.

    Raises:
        ConfigError: A number of stages or blocks is 0.
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        num_limb_stages: int = 4,
        num_keypoint_stages: int = 2,
        first_channels: tuple[int, int] = (96, 256),
        later_channels: tuple[int, int] = (128, 512),
        num_blocks: int = 5,
        limb_field: str = 'paf',
    ):
        super().__init__()
        if num_limb_stages < 1 or num_keypoint_stages < 1 or num_blocks < 1:
            raise ConfigError(
                f'PAFStagesHead needs at least one limb stage, keypoint stage and block; got {num_limb_stages=}, '
                f'{num_keypoint_stages=}, {num_blocks=}'
            )
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_index = find_stride_indices('PAFStagesHead', in_channels, strides, stride)[-1]
        limb_fields = {name: n for name, n in fields.items() if name == limb_field}
        other_fields = {name: n for name, n in fields.items() if name != limb_field}
        channels, sizes = in_channels[self.feature_index], (first_channels, later_channels, num_blocks)
        # Limbs first: the paper finds that refined limb fields help heatmaps, and not the other way round.
        self.limb_steps = _build_stages(channels, limb_fields, num_limb_stages, *sizes)
        # Keypoint stages also read the last limb field.
        channels += sum(limb_fields.values())
        self.joint_steps = _build_stages(channels, other_fields, num_keypoint_stages, *sizes)
        # The last limb stage and the last keypoint stage are returned as one.
        self.num_stages = len(self.limb_steps) + len(self.joint_steps) - bool(limb_fields and other_fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        image_features = features[self.feature_index]
        limb_stages = _run_stages(self.limb_steps, image_features)
        last_limbs = limb_stages[-1].values() if limb_stages else ()
        keypoint_stages = _run_stages(self.joint_steps, image_features, *last_limbs)
        # The last limb field was predicted before the keypoint stages, but is returned with the last of them.
        if not (limb_stages and keypoint_stages):
            return limb_stages or keypoint_stages
        return [*limb_stages[:-1], *keypoint_stages[:-1], {**limb_stages[-1], **keypoint_stages[-1]}]


def _build_stages(
    in_channels: int,
    fields: dict[str, int],
    num_stages: int,
    first_channels: tuple[int, int],
    later_channels: tuple[int, int],
    num_blocks: int,
) -> nn.ModuleList:
    """Stages of one kind: the first reads `in_channels`, the others also the fields before; none without fields."""
    stages = nn.ModuleList()
    for t in range(num_stages if fields else 0):
        width, hidden = later_channels if t else first_channels
        # The first stage of a kind has no fields of its own kind to read.
        channels = in_channels + (sum(fields.values()) if t else 0)
        blocks = [DenseBlock(channels if i == 0 else 3 * width, width) for i in range(num_blocks)]
        convs = _conv_prelu(3 * width, hidden, 1), FieldConvs(hidden, fields, init_std=0.01)
        stages.append(nn.Sequential(*blocks, *convs))
    return stages


def _run_stages(stages: nn.ModuleList, features: Tensor, *extra_fields: Tensor) -> list[dict[str, Tensor]]:
    """The fields of stages that read the features, the fields of the stage before and `extra_fields`."""
    outputs: list[dict[str, Tensor]] = []
    for stage in stages:
        last_fields = outputs[-1].values() if outputs else ()
        # Features, own fields, limb field: the order of the released BODY_25 weights.
        outputs.append(stage(torch.cat([features, *last_fields, *extra_fields], dim=1)))
    return outputs


class DenseBlock(nn.Module):
    """Three 3x3 convolutions in a row, each with a PReLU; the outputs of all three are concatenated.

    Args:
        in_channels: Channels of the input.
        width: Channels of every convolution; the output has 3 times as many.
    """

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.convs = nn.ModuleList(_conv_prelu(in_channels if i == 0 else width, width, 3) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, 3 * width, H, W) for `x` (B, in_channels, H, W)."""
        outputs = []
        for conv in self.convs:
            x = conv(x)
            outputs.append(x)
        return torch.cat(outputs, dim=1)


def _conv_prelu(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """A convolution that keeps the size and a PReLU with one learned slope per channel (0.25 at first)."""
    conv = conv_block(in_channels, out_channels, kernel_size, activation=None)
    block = nn.Sequential(*conv, nn.PReLU(out_channels))
    init_convolutions(block)
    return block
