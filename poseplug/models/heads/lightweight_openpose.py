"""Lightweight OpenPose (Osokin 2018, arXiv:1811.12004): branches that share all but their last two layers."""

from __future__ import annotations

__all__ = ['LightweightOpenPoseHead']

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.heads.base import Head, find_stride_indices
from poseplug.models.heads.openpose import FieldBranches, run_refinement_stages
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class LightweightOpenPoseHead(Head):
    """Image features in few channels, a first prediction of all fields, and `num_stages - 1` refined ones.

    Stage 1 has three 3x3 convolutions, a later stage residual blocks whose receptive field is that of 7x7 convolutions.
    Behind them, each field has two 1x1 convolutions of its own. The first stage reads the last feature map of the
    codec's stride, and the later stages also the fields of the stage before.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_stages: Number of stages.
        channels: Channels of the reduced image features, and of the layers that the fields share.
        hidden_channels: Channels between the two 1x1 convolutions of a field, in stage 1 and in later stages.
        num_blocks: Number of residual blocks of a later stage.
        norm_cfg: Config of the norms of later stages, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU and ELU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: There is no stage or no block.
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        num_stages: int = 2,
        channels: int = 128,
        hidden_channels: tuple[int, int] = (512, 128),
        num_blocks: int = 5,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        bare_layers = LayerBuilder(None, act_cfg, conv_cfg)  # of the branches, which have no norms
        if num_stages < 1 or num_blocks < 1:
            raise ConfigError(
                f'LightweightOpenPoseHead needs at least one stage and block; got {num_stages=}, {num_blocks=}'
            )
        self.num_stages, self.stride, self.fields = num_stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_index = find_stride_indices('LightweightOpenPoseHead', in_channels, strides, stride)[-1]
        # From 512 channels of the trunk to 128; the released code calls this part cpm.
        self.reduce = Reduction(in_channels[self.feature_index], channels, layers)
        # Both fields share these layers: the main saving over OpenPose, which has a branch for each.
        first = nn.Sequential(*(conv_block(channels, channels, 3, layers=layers) for _ in range(3)))
        init_convolutions(first)
        first_branches = FieldBranches(channels, fields, ((1, hidden_channels[0]),), builder=bare_layers)
        self.steps = nn.ModuleList([nn.Sequential(first, first_branches)])
        # A later stage reads the fields of the stage before as well.
        later_channels = channels + sum(fields.values())
        for _ in range(num_stages - 1):
            blocks = [RefinementBlock(channels if i else later_channels, channels, layers) for i in range(num_blocks)]
            branches = FieldBranches(channels, fields, ((1, hidden_channels[1]),), builder=bare_layers)
            self.steps.append(nn.Sequential(*blocks, branches))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return run_refinement_stages(self.steps, self.reduce(features[self.feature_index]))


class Reduction(nn.Module):
    """A 1x1 convolution to fewer channels, three depthwise separable ones with ELU beside a shortcut, and a 3x3."""

    def __init__(self, in_channels: int, out_channels: int, builder: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.enter = conv_block(in_channels, out_channels, 1, layers=builder)
        layers: list[nn.Module] = []
        for _ in range(3):
            # No norms here, as released; ELU passes negative values, which then still have a gradient.
            depthwise: Any = dict(groups=out_channels, activation=nn.ELU)
            layers.append(conv_block(out_channels, out_channels, 3, layers=builder, **depthwise))
            layers.append(conv_block(out_channels, out_channels, 1, activation=nn.ELU, layers=builder))
        self.conv = nn.Sequential(*layers)
        self.leave = conv_block(out_channels, out_channels, 3, layers=builder)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reduced features (B, out_channels, H, W) of `x` (B, in_channels, H, W)."""
        x = self.enter(x)
        return self.leave(x + self.conv(x))


class RefinementBlock(nn.Module):
    """A 1x1 convolution, then a 3x3 and a dilated 3x3 convolution beside a shortcut: a receptive field of 7x7 cells."""

    def __init__(self, in_channels: int, out_channels: int, builder: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.enter = conv_block(in_channels, out_channels, 1, layers=builder)
        self.conv = nn.Sequential(
            conv_block(out_channels, out_channels, 3, 'BN', layers=builder),
            # 3x3 cells, and then 5x5 around each of them.
            conv_block(out_channels, out_channels, 3, 'BN', dilation=2, layers=builder),
        )
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, out_channels, H, W) for `x` (B, in_channels, H, W)."""
        x = self.enter(x)
        return x + self.conv(x)
