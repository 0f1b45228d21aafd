"""Blocks that several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.errors import ConfigError

Layer = Sequence[float]  # (kernel, channels) or (kernel, channels, dropout)


def conv_block(
    channels: int,
    out: int,
    kernel: int,
    norm: str | None = None,
    dropout: float = 0.0,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution that keeps the size (odd `kernel`, `stride` 1), batch norm where `norm` is 'BN', activation, dropout.

    A stride divides the size, rounded up. `activation` None leaves it out.
    """
    if norm not in (None, 'BN'):
        raise ConfigError(f"norm is None or 'BN'; got {norm!r}")
    bias = norm is None
    layers: list[nn.Module] = [nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=bias)]
    layers += [nn.BatchNorm2d(out)] if norm else []
    layers += [activation(inplace=True)] if activation else []
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))


def conv_stack(channels: int, layers: Iterable[Layer], norm: str | None = None) -> tuple[nn.Sequential, int]:
    """Blocks of (kernel, channels[, dropout]) in a row, and the channels they end with."""
    blocks = []
    for kernel, out, *dropout in layers:
        blocks.append(conv_block(channels, int(out), int(kernel), norm, dropout[0] if dropout else 0.0))
        channels = int(out)
    return nn.Sequential(*blocks), channels


def init_convolutions(module: nn.Module, std: float | None = None, fan: str = 'fan_in') -> None:
    """Weights from a normal distribution of deviation `std` (by default He et al. 2015's, by `fan`), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if std is None:
                nn.init.kaiming_normal_(layer.weight, mode=fan, nonlinearity='relu')  # type: ignore[arg-type]
            else:
                nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385, figure 5 left).

    The shortcut is a 1x1 convolution where stride or channels change, else the input itself.
    """

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (arXiv:1512.03385, figure 5 right); the 3x3 has the stride."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1):
        super().__init__()
        out = self.expansion * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


def shortcut(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """What leads past a residual block whose output has another shape; None where it has the same."""
    if stride == 1 and channels == out:
        return None
    return conv_block(channels, out, 1, 'BN', stride=stride, activation=None)


def residual_blocks(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, depth: int, stride: int = 1
) -> nn.Sequential:
    """`depth` residual blocks in a row, the first with the stride; they end with `block.expansion * width` channels."""
    out = block.expansion * width
    return nn.Sequential(block(channels, width, stride), *(block(out, width) for _ in range(depth - 1)))


class ChannelAttention(nn.Module):
    """Every channel of (B, C, H, W) times a share of 0 to 1: hard sigmoid of one layer on all channels' means."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def check_strides(part: str, out_strides: Sequence[int], known: Sequence[int]) -> tuple[int, ...]:
    """The strides of the maps that a backbone is asked for, which it must have; finest first, each once."""
    chosen = tuple(out_strides)
    if not chosen or chosen != tuple(s for s in known if s in chosen):
        raise ConfigError(
            f'{part} has maps of strides {", ".join(map(str, known))}; out_strides names some of them, '
            f'finest first and each once; got {chosen}'
        )
    return chosen


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
