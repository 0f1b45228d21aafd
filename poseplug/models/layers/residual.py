"""Residual blocks (He et al. 2016, arXiv:1512.03385), with the parameter names of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder
from poseplug.models.layers.conv import conv_block
from poseplug.models.layers.squeeze_excitation import SqueezeExcitation


@dataclass(frozen=True)
class ResidualOptions:
    """Options by which the blocks of residual networks vary.

    Attributes:
        groups: Groups of the 3x3 convolution of a bottleneck (ResNeXt: Xie et al. 2017, arXiv:1611.05431).
        width_per_group: Channels of a group in blocks of width 64; in wider ones accordingly more.
        se_ratio: Ratio of a `SqueezeExcitation` before the sum, or None for none.
        pool_shortcut: Whether shortcuts of stride 2 average four cells and then change the channels, instead of
            skipping cells (He et al. 2019, arXiv:1812.01187, figure 2c).
    """

    groups: int = 1
    width_per_group: int = 64
    se_ratio: int | None = None
    pool_shortcut: bool = False

    def compute_inner_channels(self, width: int) -> int:
        """Return the channels of the 3x3 convolution of a bottleneck of nominal width."""
        # 64 is the width of ResNet's first layer, to which `width_per_group` refers (torchvision's `base_width`).
        return max(1, width * self.width_per_group // 64) * self.groups

    def build_channel_weighting(self, channels: int, layers: LayerBuilder) -> nn.Module:
        """Build what weights the channels before the sum: nothing without `se_ratio`."""
        return nn.Identity() if self.se_ratio is None else SqueezeExcitation(channels, self.se_ratio, layers=layers)


DEFAULT_OPTIONS = ResidualOptions()


class ResidualBlock(nn.Module):
    """The sum of a branch and a shortcut, with an activation; subclasses build the layers and compute the branch.

    Attributes:
        downsample: The shortcut, or None where it is the input itself.
        relu: The activation, of the sum and of layers in the branch.
    """

    downsample: nn.Module | None
    relu: nn.Module

    def compute_branch(self, x: Tensor) -> Tensor:
        """Return what is added to the shortcut, for `x` (B, in_channels, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, in_channels, H, W)."""
        branch = self.compute_branch(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(branch + shortcut)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385, figure 5 left).

    The shortcut is a 1x1 convolution if the stride or the channels change, else the input itself.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        layers: LayerBuilder = DEFAULT_LAYERS,
        options: ResidualOptions = DEFAULT_OPTIONS,
    ):
        super().__init__()
        self.conv1 = layers.build_conv(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = layers.build_norm(width)
        self.conv2 = layers.build_conv(width, width, 3, padding=1, bias=False)
        self.bn2 = layers.build_norm(width)
        # Without parameters unless asked for, so that the names of the weights stay those of torchvision.
        self.se = options.build_channel_weighting(width, layers)
        self.downsample = build_shortcut(in_channels, width, stride, layers, options.pool_shortcut)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.se(self.bn2(self.conv2(out)))


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (arXiv:1512.03385, figure 5 right).

    The 3x3 convolution has the stride, as in torchvision; the paper has it in the first 1x1 convolution.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        layers: LayerBuilder = DEFAULT_LAYERS,
        options: ResidualOptions = DEFAULT_OPTIONS,
    ):
        super().__init__()
        out_channels = self.expansion * width
        inner = options.compute_inner_channels(width)
        self.conv1 = layers.build_conv(in_channels, inner, 1, bias=False)
        self.bn1 = layers.build_norm(inner)
        self.conv2 = layers.build_conv(inner, inner, 3, stride=stride, padding=1, groups=options.groups, bias=False)
        self.bn2 = layers.build_norm(inner)
        self.conv3 = layers.build_conv(inner, out_channels, 1, bias=False)
        self.bn3 = layers.build_norm(out_channels)
        self.se = options.build_channel_weighting(out_channels, layers)
        self.downsample = build_shortcut(in_channels, out_channels, stride, layers, options.pool_shortcut)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.se(self.bn3(self.conv3(out)))


def build_shortcut(
    in_channels: int, out_channels: int, stride: int, layers: LayerBuilder = DEFAULT_LAYERS, pool: bool = False
) -> nn.Sequential | None:
    """Build the shortcut of a residual block whose output has another shape; return None if the shape stays.

    With `pool`, a stride averages the cells that it joins, before the 1x1 convolution.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    if not pool or stride == 1:
        return conv_block(in_channels, out_channels, 1, 'BN', stride=stride, activation=None, layers=layers)
    # An odd size is rounded up like that of the strided convolution, and its last cells are means of fewer.
    average = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(average, *conv_block(in_channels, out_channels, 1, 'BN', activation=None, layers=layers))


def residual_blocks(
    block: Any,
    in_channels: int,
    width: int,
    depth: int,
    stride: int = 1,
    layers: LayerBuilder = DEFAULT_LAYERS,
    options: ResidualOptions = DEFAULT_OPTIONS,
) -> nn.Sequential:
    """Build residual blocks in a row.

    Args:
        block: Class of the blocks, such as `Bottleneck`.
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolutions; the output has `block.expansion * width`.
        depth: Number of blocks.
        stride: Stride of the first block.
        layers: What builds the layers.
        options: What differs from the original blocks.

    Returns:
        The blocks.
    """
    out_channels = block.expansion * width
    # Only the first block changes the stride and the channels.
    later_blocks = (block(out_channels, width, layers=layers, options=options) for _ in range(depth - 1))
    return nn.Sequential(block(in_channels, width, stride, layers, options), *later_blocks)
