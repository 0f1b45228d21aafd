"""Bottlenecks whose 3x3 convolution is replaced: split attention (ResNeSt) and self-calibration (SCNet)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder
from poseplug.models.layers.conv import conv_block
from poseplug.models.layers.residual import DEFAULT_OPTIONS, ResidualBlock, ResidualOptions, build_shortcut

_CALIBRATION_CELLS = 4  # side of the squares that self-calibration averages: the paper's r


class SplitAttention(nn.Module):
    """A 3x3 convolution to several maps per channel, and their sum, weighted by what their means say.

    Zhang et al. 2022, arXiv:2004.08955, section 3.1.

    Args:
        channels: Channels of the input and the output.
        groups: Number of cardinal groups.
        radix: Number of maps per channel.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, groups: int = 1, radix: int = 2, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.groups, self.radix = groups, radix
        hidden_channels = max(32, channels * radix // 4)  # the release's reduction and smallest width
        self.conv = layers.build_conv(channels, radix * channels, 3, padding=1, groups=groups * radix, bias=False)
        self.bn0 = layers.build_norm(radix * channels)
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1, groups=groups)
        self.bn1 = layers.build_norm(hidden_channels)
        self.fc2 = nn.Conv2d(hidden_channels, radix * channels, 1, groups=groups)
        self.relu = layers.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum (B, C, H, W) of the maps of `x` (B, C, H, W)."""
        maps = self.relu(self.bn0(self.conv(x))).unflatten(1, (self.radix, -1))
        # (B, C, 1, 1), over both maps of a channel
        means = maps.sum(dim=1).mean((2, 3), keepdim=True)
        logits = self.fc2(self.relu(self.bn1(self.fc1(means))))
        # Each group has its own maps one after the other; the softmax is over the maps of a channel.
        weights = logits.unflatten(1, (self.groups, self.radix, -1)).softmax(dim=2)
        return (maps * weights.transpose(1, 2).flatten(2, 3)).sum(dim=1)


class SplitAttentionBottleneck(ResidualBlock):
    """A bottleneck with `SplitAttention` in place of its 3x3 convolution; a stride averages 3x3 cells behind it."""

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        layers: LayerBuilder = DEFAULT_LAYERS,
        options: ResidualOptions = DEFAULT_OPTIONS,
    ):
        super().__init__()
        inner, out_channels = options.compute_inner_channels(width), self.expansion * width
        self.conv1 = layers.build_conv(in_channels, inner, 1, bias=False)
        self.bn1 = layers.build_norm(inner)
        self.conv2 = SplitAttention(inner, options.groups, layers=layers)
        # The release's `avd` pooling behind the split attention; the convolution itself has stride 1.
        self.pool = nn.Identity() if stride == 1 else nn.AvgPool2d(3, stride, padding=1)
        self.conv3 = layers.build_conv(inner, out_channels, 1, bias=False)
        self.bn3 = layers.build_norm(out_channels)
        self.se = options.build_channel_weighting(out_channels, layers)
        self.downsample = build_shortcut(in_channels, out_channels, stride, layers, options.pool_shortcut)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        out = self.pool(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.se(self.bn3(self.conv3(out)))


class SelfCalibration(nn.Module):
    """A 3x3 convolution whose output is weighted by a coarser view of the input, and a second one.

    Liu et al. 2020, "Improving Convolutional Networks With Self-Calibrated Convolutions", equations 3 to 5.

    Args:
        channels: Channels of the input and the output.
        stride: Stride of the second convolution.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, stride: int = 1, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.coarse = conv_block(channels, channels, 3, 'BN', activation=None, layers=layers)
        self.fine = conv_block(channels, channels, 3, 'BN', activation=None, layers=layers)
        self.last = conv_block(channels, channels, 3, 'BN', stride=stride, activation=None, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, C, H/stride, W/stride), without an activation, for `x` (B, C, H, W)."""
        # A map that is smaller than one square is averaged as a whole.
        kernel_size = [min(_CALIBRATION_CELLS, n) for n in x.shape[-2:]]
        coarse = self.coarse(F.avg_pool2d(x, kernel_size))
        # Equation 4: the input is added before the sigmoid.
        weights = torch.sigmoid(x + F.interpolate(coarse, x.shape[-2:], mode='nearest'))
        return self.last(self.fine(x) * weights)


class SelfCalibratedBottleneck(ResidualBlock):
    """A bottleneck whose 3x3 convolution is one of half of the channels beside a `SelfCalibration` of the others."""

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        layers: LayerBuilder = DEFAULT_LAYERS,
        options: ResidualOptions = DEFAULT_OPTIONS,
    ):
        super().__init__()
        half, out_channels = width // 2, self.expansion * width
        self.conv1 = layers.build_conv(in_channels, half, 1, bias=False)
        self.bn1 = layers.build_norm(half)
        self.conv2 = layers.build_conv(in_channels, half, 1, bias=False)
        self.bn2 = layers.build_norm(half)
        self.straight = conv_block(half, half, 3, 'BN', stride=stride, activation=None, layers=layers)
        self.calibrated = SelfCalibration(half, stride, layers)
        self.conv3 = layers.build_conv(2 * half, out_channels, 1, bias=False)
        self.bn3 = layers.build_norm(out_channels)
        self.se = options.build_channel_weighting(out_channels, layers)
        self.downsample = build_shortcut(in_channels, out_channels, stride, layers, options.pool_shortcut)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        straight = self.straight(self.relu(self.bn1(self.conv1(x))))
        calibrated = self.calibrated(self.relu(self.bn2(self.conv2(x))))
        out = self.relu(torch.cat([straight, calibrated], dim=1))
        return self.se(self.bn3(self.conv3(out)))
