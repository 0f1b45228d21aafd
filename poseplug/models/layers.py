"""Blocks that several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from poseplug.errors import ConfigError

Layer = Sequence[float]  # (kernel, channels) or (kernel, channels, dropout)


def conv_block(channels: int, out: int, kernel: int, norm: str | None = None, dropout: float = 0.0) -> nn.Sequential:
    """Convolution that keeps the size (odd `kernel`), batch norm where `norm` is 'BN', ReLU, dropout where asked."""
    if norm not in (None, 'BN'):
        raise ConfigError(f"norm is None or 'BN'; got {norm!r}")
    layers: list[nn.Module] = [nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=norm is None)]
    layers += [nn.BatchNorm2d(out)] if norm else []
    layers += [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))


def conv_stack(channels: int, layers: Iterable[Layer], norm: str | None = None) -> tuple[nn.Sequential, int]:
    """Blocks of (kernel, channels[, dropout]) in a row, and the channels they end with."""
    blocks = []
    for kernel, out, *dropout in layers:
        blocks.append(conv_block(channels, int(out), int(kernel), norm, *dropout))
        channels = int(out)
    return nn.Sequential(*blocks), channels


def init_convolutions(module: nn.Module, std: float | None = None) -> None:
    """Weights from a normal distribution of deviation `std` (by default He et al. 2015's, by fan-in), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if std is None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
            else:
                nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PixelNorm(nn.Module):
    """Pictures (B, H, W, 3), BGR, 0 to 255, to network input (B, 3, H, W): (value - mean) / std by channel.

    `mean` and `std` are in 0..255 and in the given `order` of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], order: str = 'rgb'):
        super().__init__()
        if order not in ('rgb', 'bgr'):
            raise ConfigError(f"the order of pixels is 'rgb' or 'bgr'; got {order!r}")
        self.order = order
        for name, values in (('mean', mean), ('std', std)):
            if len(values) != 3:
                raise ConfigError(f'pixels.{name} has one value a channel, 3 in all; got {values}')
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2)
        if self.order == 'rgb':
            pixels = pixels.flip(1)
        return (pixels.float() - self.mean) / self.std
