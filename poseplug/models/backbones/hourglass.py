"""Stacked hourglasses as features (Newell et al. 2016, arXiv:1603.06937; layers as in its releases)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.errors import ConfigError
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS


class Residual(nn.Module):
    """A bottleneck with batch norm and ReLU before each convolution, and nothing after the sum."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        inner = out // 2
        self.branch = nn.Sequential(*before(channels, inner, 1), *before(inner, inner, 3), *before(inner, out, 1))
        self.skip = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H, W)."""
        return self.skip(maps) + self.branch(maps)


def before(channels: int, out: int, kernel: int) -> list[nn.Module]:
    """Batch norm, ReLU, and then a convolution that keeps the size."""
    return [
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, out, kernel, padding=kernel // 2),
    ]


def residuals(count: int, channels: int) -> nn.Sequential:
    """Residuals of one width in a row."""
    return nn.Sequential(*(Residual(channels, channels) for _ in range(count)))


class Level(nn.Module):
    """Down by 2x2 pooling `depth` times and up again by nearest neighbours, with a branch at every size.

    It is one size of an hourglass and holds the next smaller one. `modules` residuals stand at every place. Odd sizes
    are rounded down on the way down, and met on the way up.
    """

    def __init__(self, channels: int, depth: int = 4, modules: int = 1):
        super().__init__()
        self.skip = residuals(modules, channels)
        self.down = residuals(modules, channels)
        self.inner = Level(channels, depth - 1, modules) if depth > 1 else residuals(modules, channels)
        self.up = residuals(modules, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        skip = self.skip(maps)
        low = F.max_pool2d(maps, 2, ceil_mode=min(maps.shape[-2:]) == 1)  # a side of one cell stays
        low = self.up(self.inner(self.down(low)))
        return skip + F.interpolate(low, size=skip.shape[-2:], mode='nearest')


class Stack(nn.Sequential):
    """One hourglass, its residuals, and a 1x1 convolution with batch norm and ReLU: (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, depth: int = 4, modules: int = 1):
        if channels < 2 or channels % 2 or depth < 1 or modules < 1:
            raise ConfigError(
                f'an hourglass has an even number of channels, a depth and modules of at least 1; got '
                f'channels={channels}, depth={depth}, modules={modules}'
            )
        super().__init__(
            Level(channels, depth, modules),
            residuals(modules, channels),
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


@MODELS.register_module()
class HourglassStem(nn.Module):
    """The layers before the first hourglass: a quarter of the input's size, for `HourglassHead`.

    `middle` are the channels of the first residual after the pooling: all of them, as in the network in PyTorch that
    published parameter counts are of, or half of them (128 of 256) as in the first release.
    """

    def __init__(self, channels: int = 256, middle: int | None = None):
        super().__init__()
        middle = middle or channels
        if channels < 8 or channels % 8 or middle % 2:
            raise ConfigError(
                f'HourglassStem: channels is a multiple of 8 and middle of 2; got channels={channels}, middle={middle}'
            )
        quarter, half = channels // 4, channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3),
            nn.BatchNorm2d(quarter),
            nn.ReLU(inplace=True),
            Residual(quarter, half),
            nn.MaxPool2d(2),
            Residual(half, middle),
            Residual(middle, channels),
        )
        self.out_channels, self.strides = (channels,), (4,)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Images (B, 3, H, W) to one map (B, C, H/4, W/4)."""
        return (self.layers(images),)


@MODELS.register_module()
class Hourglass(nn.Module):
    """The stem and `stacks` hourglasses without predictions between them, for any head: one map a stack.

    The next stack sees what the one before saw, plus a 1x1 convolution of what that one made of it.
    """

    def __init__(self, stacks: int = 8, channels: int = 256, depth: int = 4, modules: int = 1):
        super().__init__()
        if stacks < 1:
            raise ConfigError(f'Hourglass needs at least one stack; got stacks={stacks}')
        self.stem = HourglassStem(channels)
        self.stacks = nn.ModuleList(Stack(channels, depth, modules) for _ in range(stacks))
        self.merges = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.out_channels, self.strides = (channels,) * stacks, (4,) * stacks
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stack, each (B, C, H/4, W/4)."""
        (seen,) = self.stem(images)
        features = [self.stacks[0](seen)]
        for stack, merge in zip(self.stacks[1:], self.merges, strict=True):
            seen = seen + merge(features[-1])
            features.append(stack(seen))
        return tuple(features)
