"""Cross-stage-partial blocks, which CSPDarknet and CSPNeXt share, with the published names of parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.models.layers import ChannelAttention, conv_block


def block(
    channels: int,
    out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.SiLU,
) -> nn.Sequential:
    """Convolution, batch norm and activation, named `conv`, `bn` and `act`."""
    layers = conv_block(channels, out, kernel, 'BN', stride=stride, groups=groups, activation=activation)
    return nn.Sequential(OrderedDict(zip(('conv', 'bn', 'act'), layers, strict=False)))


def set_norms(module: nn.Module, eps: float, momentum: float) -> None:
    """Give every batch norm of a network the constants of its release."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.eps, layer.momentum = eps, momentum


class CSPLayer(nn.Module):
    """Half of the channels goes through the blocks, half passes by, both are mixed.

    Wang et al. 2020, arXiv:1911.11929. With `attention`, every channel is weighed before they are mixed.
    """

    def __init__(self, channels: int, blocks: Iterable[nn.Module], attention: bool = False):
        super().__init__()
        half = channels // 2
        self.main_conv = block(channels, half, 1)
        self.short_conv = block(channels, half, 1)
        self.blocks = nn.Sequential(*blocks)
        self.attention = ChannelAttention(2 * half) if attention else nn.Identity()
        self.final_conv = block(2 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(both))


class SPP(nn.Module):
    """Maxima of windows of 1, 5, 9 and 13 cells side by side, between two 1x1 convolutions.

    A window of 9 is one of 5 over windows of 5, and so on: three poolings of 5 give all of them.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = block(channels, channels // 2, 1)
        self.conv2 = block(4 * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.conv1(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv2(torch.cat(pooled, dim=1))
