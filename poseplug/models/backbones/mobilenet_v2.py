"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with torchvision's names of parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.layers import check_strides, conv_block, init_convolutions
from poseplug.registry import MODELS

# Table 2 of the paper: expansion, channels, blocks, stride of the first block.
ROWS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM = 32  # channels
STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class MobileNetV2(nn.Module):
    """Inverted residual blocks; the map of a stride is that of its last block.

    Blocks coarser than every stride of `out_strides` are not built. `width` multiplies all channels, which are then
    rounded to multiples of 8. `last_channels` asks for a 1x1 convolution to as many behind the last block, whose map
    takes the place of stride 32's (the classifier's has 1280). Weights start from He et al. 2015's normal distribution
    by fan-in, since the fan-out of a depthwise convolution counts channels that it does not reach; norms at 1 and 0.
    """

    def __init__(
        self, width: float = 1.0, out_strides: Sequence[int] = (4, 8, 16, 32), last_channels: int | None = None
    ):
        super().__init__()
        self.strides = check_strides('MobileNetV2', out_strides, STRIDES)
        layers, ends = blocks(width, self.strides[-1])
        if last_channels is not None:
            if self.strides[-1] != STRIDES[-1]:
                raise ConfigError(
                    f'MobileNetV2: last_channels={last_channels} stand at stride {STRIDES[-1]}, but out_strides is '
                    f'{self.strides}; add {STRIDES[-1]} to it, or leave last_channels out'
                )
            layers.append(conv_block(ends[STRIDES[-1]][1], last_channels, 1, 'BN', activation=nn.ReLU6))
            ends[STRIDES[-1]] = (len(layers) - 1, last_channels)
        self.features = nn.Sequential(*layers)
        self.places = tuple(ends[s][0] for s in self.strides)
        self.out_channels = tuple(ends[s][1] for s in self.strides)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x, maps = images, []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.places:
                maps.append(x)
        return tuple(maps)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, 3x3 in each of them, 1x1 without activation; a shortcut where it fits."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int):
        super().__init__()
        hidden = expansion * channels
        self.residual = stride == 1 and channels == out
        self.conv = nn.Sequential(
            *([conv_block(channels, hidden, 1, 'BN', activation=nn.ReLU6)] if expansion > 1 else []),
            conv_block(hidden, hidden, 3, 'BN', stride=stride, groups=hidden, activation=nn.ReLU6),
            *conv_block(hidden, out, 1, 'BN', activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def blocks(width: float, coarsest: int) -> tuple[list[nn.Module], dict[int, tuple[int, int]]]:
    """The stem and the blocks up to a stride, and by stride the place and the channels of its last block."""
    channels, at = rounded(STEM * width), 2
    layers: list[nn.Module] = [conv_block(3, channels, 3, 'BN', stride=2, activation=nn.ReLU6)]
    ends = {}
    for expansion, out, count, stride in ROWS:
        at *= stride
        if at > coarsest:
            break
        for i in range(count):
            layers.append(InvertedResidual(channels, rounded(out * width), expansion, stride if i == 0 else 1))
            channels = rounded(out * width)
        ends[at] = (len(layers) - 1, channels)
    return layers, ends


def rounded(channels: float, to: int = 8) -> int:
    """The nearest multiple of 8, at least 8, and never less than 90 % of what was asked for."""
    near = max(to, int(channels + to / 2) // to * to)
    return near if near >= 0.9 * channels else near + to
