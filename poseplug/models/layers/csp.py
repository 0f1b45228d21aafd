"""Cross-stage-partial layers, which CSPDarknet and CSPNeXt share, with the published parameter names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.models.layers.conv import ChannelAttention, conv_block

YOLOX_NORM_CONSTANTS = dict(eps=1e-3, momentum=0.03)  # of all batch norms in YOLOX's release, and in RTMO's


def conv_bn_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.SiLU,
) -> nn.Sequential:
    """Build a convolution, batch norm and activation with the names `conv`, `bn` and `act`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        activation: Class of the activation, or None for none.

    Returns:
        The named layers in a row.
    """
    layers = conv_block(
        in_channels, out_channels, kernel_size, 'BN', stride=stride, groups=groups, activation=activation
    )
    return nn.Sequential(OrderedDict(zip(('conv', 'bn', 'act'), layers, strict=False)))


def configure_batch_norms(module: nn.Module, eps: float, momentum: float) -> None:
    """Set the constants of every batch norm of a network, in place.

    Args:
        module: The network.
        eps: Number added to the variance.
        momentum: Fraction of the running statistics that every batch replaces.
    """
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.eps, layer.momentum = eps, momentum


class CSPLayer(nn.Module):
    """Cross-stage-partial layer: half of the channels passes the blocks, and both halves are mixed.

    Wang et al. 2020, arXiv:1911.11929.

    Args:
        channels: Channels of the input and the output.
        blocks: Blocks of `channels // 2` channels.
        attention: Whether to weight the channels by `ChannelAttention` before they are mixed.
    """

    def __init__(self, channels: int, blocks: Iterable[nn.Module], attention: bool = False):
        super().__init__()
        half = channels // 2
        self.main_conv = conv_bn_act(channels, half, 1)
        self.short_conv = conv_bn_act(channels, half, 1)
        self.blocks = nn.Sequential(*blocks)
        self.attention = ChannelAttention(2 * half) if attention else nn.Identity()  # Identity has no weights
        self.final_conv = conv_bn_act(2 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for `x` (B, channels, H, W), of the same shape."""
        halves = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(halves))


class SPP(nn.Module):
    """Spatial pyramid pooling: maxima over windows of 1, 5, 9 and 13 cells, between two 1x1 convolutions.

    A maximum over 9 cells is one over 5 of maxima over 5, and so on, so three poolings of 5 cells compute all of them.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv_bn_act(channels, channels // 2, 1)
        self.conv2 = conv_bn_act(4 * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features of `x` (B, channels, H, W), of the same shape."""
        pooled = [self.conv1(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv2(torch.cat(pooled, dim=1))


def build_csp_stage(
    in_channels: int, out_channels: int, blocks: Iterable[nn.Module], pool: bool = False, attention: bool = False
) -> nn.Sequential:
    """Build a stage of a backbone: a 3x3 convolution of stride 2, and a `CSPLayer`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        blocks: Blocks of the `CSPLayer`.
        pool: Whether an `SPP` stands between the two.
        attention: Whether the `CSPLayer` weights its channels.

    Returns:
        The stage, which halves the size, rounded up.
    """
    layers: list[nn.Module] = [conv_bn_act(in_channels, out_channels, 3, stride=2)]
    if pool:
        layers.append(SPP(out_channels))
    layers.append(CSPLayer(out_channels, blocks, attention))
    return nn.Sequential(*layers)
