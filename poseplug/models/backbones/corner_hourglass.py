"""The hourglass of CornerNet (Law and Deng 2018, arXiv:1808.01244, section 3.4), which MMPose calls HourglassNet."""

from __future__ import annotations

__all__ = ['CornerHourglass']

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_block, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.residual import BasicBlock, residual_blocks
from poseplug.registry import MODELS

_STRIDE = 4


@MODELS.register_module()
class CornerHourglass(nn.Module):
    """Hourglasses of residual blocks that halve the size by strides, not by pooling, and have more channels inside.

    Args:
        num_stacks: Number of hourglasses.
        channels: Channels of the features at stride 4 and of every coarser level.
        num_blocks: Number of residual blocks of every level; those of the coarsest run in a row.
        stem_channels: Channels of the first convolution.
        feat_channels: Channels of the returned feature maps.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: There is no stack, or `channels` and `num_blocks` have not the same length, at least 2.
    """

    def __init__(
        self,
        num_stacks: int = 1,
        channels: Sequence[int] = (256, 256, 384, 384, 384, 512),
        num_blocks: Sequence[int] = (2, 2, 2, 2, 2, 4),
        stem_channels: int = 128,
        feat_channels: int = 256,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_stacks < 1 or len(channels) < 2 or len(channels) != len(num_blocks):
            raise ConfigError(
                f'CornerHourglass needs at least one stack, and one number of blocks for each of at least two levels; '
                f'got {num_stacks=}, channels={channels}, num_blocks={num_blocks}'
            )
        width = channels[0]
        # A 7x7 convolution and one residual block, each of stride 2: features at stride 4.
        self.stem = nn.Sequential(
            conv_bn_act(3, stem_channels, 7, stride=2, activation=nn.ReLU, layers=layers),
            residual_blocks(BasicBlock, stem_channels, width, 1, stride=2, layers=layers),
        )
        self.stacks = nn.ModuleList(HourglassLevel(channels, num_blocks, layers) for _ in range(num_stacks))
        self.outputs = nn.ModuleList(
            conv_bn_act(width, feat_channels, 3, activation=nn.ReLU, layers=layers) for _ in range(num_stacks)
        )
        # Nothing follows the last stack, so it has no merge: unused weights would have no gradient.
        self.merges = nn.ModuleList(StackMerge(width, feat_channels, layers) for _ in range(num_stacks - 1))
        self.out_channels, self.strides = (feat_channels,) * num_stacks, (_STRIDE,) * num_stacks
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one feature map per stack, (B, feat_channels, H/4, W/4), of images (B, 3, H, W)."""
        stack_input = self.stem(images)
        features = [self.outputs[0](self.stacks[0](stack_input))]
        for index, merge in enumerate(self.merges, 1):
            stack_input = merge(stack_input, features[-1])
            features.append(self.outputs[index](self.stacks[index](stack_input)))
        return tuple(features)


class HourglassLevel(nn.Module):
    """Residual blocks at this size, beside the coarser levels at half the size; both are added.

    Parameters have CornerNet's names: `up1` at this size, `low1` before, `low2` in, and `low3` behind the coarser
    level.

    Args:
        channels: Channels of this level and of every coarser one.
        num_blocks: Number of blocks of these levels.
        layers: What builds the layers.
    """

    def __init__(self, channels: Sequence[int], num_blocks: Sequence[int], layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        width, coarser = channels[:2]
        depth, coarser_depth = num_blocks[:2]
        self.up1 = residual_blocks(BasicBlock, width, width, depth, layers=layers)
        # The first block of `low1` halves the size: CornerNet has no pooling inside.
        self.low1 = residual_blocks(BasicBlock, width, coarser, depth, stride=2, layers=layers)
        self.low2 = (
            HourglassLevel(channels[1:], num_blocks[1:], layers)
            if len(channels) > 2
            else residual_blocks(BasicBlock, coarser, coarser, coarser_depth, layers=layers)
        )
        # The last block alone changes the channels.
        same = (BasicBlock(coarser, coarser, layers=layers) for _ in range(depth - 1))
        self.low3 = nn.Sequential(*same, BasicBlock(coarser, width, layers=layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return the level's output for `x` (B, C, H, W), of the same shape."""
        coarser = self.low3(self.low2(self.low1(x)))
        # To the size of `x`, since doubling fails where a stride rounded an odd size up.
        return self.up1(x) + F.interpolate(coarser, size=x.shape[-2:], mode='nearest')


class StackMerge(nn.Module):
    """The input of the next hourglass, from the input and the features of the one before.

    Args:
        channels: Channels of the inputs.
        feat_channels: Channels of the features.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, feat_channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.from_input = conv_block(channels, channels, 1, 'BN', activation=None, layers=layers)
        self.from_features = conv_block(feat_channels, channels, 1, 'BN', activation=None, layers=layers)
        self.relu = layers.build_activation()
        self.block = BasicBlock(channels, channels, layers=layers)

    def forward(self, stack_input: Tensor, features: Tensor) -> Tensor:
        """Return the next input (B, channels, H, W) of an input and features (B, feat_channels, H, W)."""
        return self.block(self.relu(self.from_input(stack_input) + self.from_features(features)))
