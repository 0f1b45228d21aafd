"""Stacked hourglasses as a backbone (Newell et al. 2016, arXiv:1603.06937; layers as in its releases)."""

from __future__ import annotations

__all__ = ['Hourglass', 'HourglassStem']

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.registry import MODELS

HourglassBlock = Literal['residual', 'large', 'double']
HourglassUpsampling = Literal['nearest', 'bilinear']


class PreActResidual(nn.Module):
    """A bottleneck with batch norm and ReLU before every convolution, and nothing behind the sum.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; half as many inside.
        layers: What builds the layers.
    """

    def __init__(self, in_channels: int, out_channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        # The released bottleneck halves the channels inside; ResNet's has a quarter.
        inner = out_channels // 2
        self.branch = nn.Sequential(
            *_preact_conv(in_channels, inner, 1, layers),
            *_preact_conv(inner, inner, 3, layers),
            *_preact_conv(inner, out_channels, 1, layers),
        )
        # princeton-vl's port has a convolution for equal channels, too, and never runs it: 7,385,216 of the
        # 32,819,328 weights of 8 stacks. It is left out here.
        self.skip = nn.Identity() if in_channels == out_channels else layers.build_conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, out_channels, H, W) for `x` (B, in_channels, H, W)."""
        return self.skip(x) + self.branch(x)


def _preact_conv(in_channels: int, out_channels: int, kernel_size: int, layers: LayerBuilder) -> list[nn.Module]:
    """Batch norm, ReLU, and a convolution that keeps the size."""
    conv = layers.build_conv(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return [layers.build_norm(in_channels), layers.build_activation(), conv]


class PreActPlain(nn.Sequential):
    """A convolution with batch norm and ReLU before it, without a skip, beside which residuals are measured.

    Args:
        channels: Channels of input and output.
        kernel_size: Side of the square kernel, an odd number.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, kernel_size: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__(*_preact_conv(channels, channels, kernel_size, layers))


def _build_block(block: HourglassBlock, channels: int, layers: LayerBuilder) -> nn.Module:
    """One block of a kind."""
    if block == 'residual':
        return PreActResidual(channels, channels, layers)
    if block == 'double':
        return nn.Sequential(PreActPlain(channels, 3, layers), PreActPlain(channels, 3, layers))
    return PreActPlain(channels, 5, layers)


@dataclass(frozen=True)
class HourglassDesign:
    """Settings of the levels of an hourglass.

    Args:
        channels: Channels of all features, an even number.
        depth: Number of poolings.
        num_modules: Number of blocks at every position.
        block: Kind of the blocks (section 3.2 of the paper): the 'residual', a 'large' kernel of 5x5, or 'double', two
            of 3x3 in its place; the latter two have no skip.
        upsampling: 'nearest' neighbors or 'bilinear'.

    Raises:
        ConfigError: A number is too small, `channels` is odd, or a kind is unknown.
    """

    channels: int
    depth: int = 4
    num_modules: int = 1
    block: HourglassBlock = 'residual'
    upsampling: HourglassUpsampling = 'nearest'

    def __post_init__(self) -> None:
        if self.channels < 2 or self.channels % 2 or self.depth < 1 or self.num_modules < 1:
            raise ConfigError(
                f'an hourglass has an even number of channels, and depth and num_modules of at least 1; got '
                f'channels={self.channels}, depth={self.depth}, num_modules={self.num_modules}'
            )
        for name, known in (('block', get_args(HourglassBlock)), ('upsampling', get_args(HourglassUpsampling))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f'an hourglass has {name} {" or ".join(map(repr, known))}; got {value!r}')

    def build_blocks(self, layers: LayerBuilder) -> nn.Sequential:
        """Build the blocks of one position, in a row."""
        return nn.Sequential(*(_build_block(self.block, self.channels, layers) for _ in range(self.num_modules)))


class HourglassModule(nn.Module):
    """One hourglass: `depth` times down by 2x2 pooling and up again, with a skip at every size.

    A module is one size of the hourglass and contains the next smaller one. An odd size is rounded down on the way
    down, and restored on the way up.

    Args:
        design: What it is made of.
        depth: Number of poolings of this module.
        layers: What builds the layers.
    """

    def __init__(self, design: HourglassDesign, depth: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.upsampling = design.upsampling
        # In the words of the paper: `skip` is the upper branch, the other three the lower one.
        self.skip = design.build_blocks(layers)
        self.down = design.build_blocks(layers)
        if depth > 1:
            self.inner: nn.Module = HourglassModule(design, depth - 1, layers)
        else:
            self.inner = design.build_blocks(layers)
        self.up = design.build_blocks(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hourglass's output for `x` (B, channels, H, W), of the same shape."""
        return self.forward_with_low(x)[0]

    def forward_with_low(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output for `x` (B, channels, H, W), and the features of half its size before they are enlarged."""
        skip = self.skip(x)
        # A side of one cell stays one cell. In an exported graph of any size, `bool` fixes that there is none.
        low = F.max_pool2d(x, 2, ceil_mode=bool(min(x.shape[-2:]) == 1))
        # At half the size, rounded down: `interpolate` restores an odd size.
        low = self.up(self.inner(self.down(low)))
        return skip + resize_features(low, skip, self.upsampling), low


def resize_features(x: Tensor, like: Tensor, upsampling: HourglassUpsampling) -> Tensor:
    """Resize features.

    Args:
        x: (B, C, H, W).
        like: A tensor of the target size.
        upsampling: As in `HourglassDesign`.
    """
    # To the size of `like`, not by a factor of 2: that fails at odd sizes (DARK's copy runs at 128x96 px alone).
    if upsampling == 'nearest':
        return F.interpolate(x, size=like.shape[-2:], mode='nearest')
    return F.interpolate(x, size=like.shape[-2:], mode='bilinear', align_corners=False)


class HourglassStack(nn.Sequential):
    """One hourglass, blocks, and a 1x1 convolution with batch norm and ReLU; keeps the shape.

    Args:
        design: What the hourglass is made of.
        layers: What builds the layers.
    """

    def __init__(self, design: HourglassDesign, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__(
            # The hourglass stands first: `forward_with_low` relies on it.
            HourglassModule(design, design.depth, layers),
            design.build_blocks(layers),
            layers.build_conv(design.channels, design.channels, 1),
            layers.build_norm(design.channels),
            layers.build_activation(),
        )

    def forward_with_low(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output for `x` (B, channels, H, W), and the hourglass's features of half its size."""
        module, *rest = self
        assert isinstance(module, HourglassModule)
        x, low = module.forward_with_low(x)
        for layer in rest:
            x = layer(x)
        return x, low


@MODELS.register_module()
class HourglassStem(nn.Module):
    """The layers before the first hourglass, down to a quarter of the input's size; for `HourglassHead`.

    Args:
        channels: Channels of the feature map, a multiple of 8.
        mid_channels: Channels of the first residual behind the pooling. By default `channels`, as in the network in
            PyTorch whose parameter counts are published; 128 of 256 in the first release.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The channels are no such multiples.
    """

    def __init__(
        self,
        channels: int = 256,
        mid_channels: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        mid_channels = mid_channels or channels
        if channels < 8 or channels % 8 or mid_channels % 2:
            raise ConfigError(
                f'HourglassStem: channels is a multiple of 8 and mid_channels of 2; got {channels=}, {mid_channels=}'
            )
        # 64 channels at half the size, 128 behind the first residual, then 256 at a quarter, for 256 `channels`.
        quarter, half = channels // 4, channels // 2
        conv = layers.build_conv(3, quarter, 7, stride=2, padding=3)
        self.layers = nn.Sequential(
            conv,
            layers.build_norm(quarter),
            layers.build_activation(),
            PreActResidual(quarter, half, layers),
            nn.MaxPool2d(2),
            PreActResidual(half, mid_channels, layers),
            PreActResidual(mid_channels, channels, layers),
        )
        self.out_channels, self.strides = (channels,), (4,)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return one feature map (B, C, H/4, W/4) of images (B, 3, H, W)."""
        return (self.layers(images),)


@MODELS.register_module()
class Hourglass(nn.Module):
    """The stem and several hourglasses without predictions between them, for any head: one feature map per stack.

    The input of a stack is that of the stack before it, plus a 1x1 convolution of that stack's output.

    Args:
        num_stacks: Number of hourglasses.
        channels: Channels of all features, a multiple of 8.
        depth: Number of poolings of an hourglass.
        num_modules: Number of residuals at every position.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: A number is too small, or `channels` is no multiple of 8.
    """

    def __init__(
        self,
        num_stacks: int = 8,
        channels: int = 256,
        depth: int = 4,
        num_modules: int = 1,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_stacks < 1:
            raise ConfigError(f'Hourglass needs at least one stack; got {num_stacks=}')
        self.stem = HourglassStem(channels, None, norm_cfg, act_cfg, conv_cfg)
        design = HourglassDesign(channels, depth, num_modules)
        self.stacks = nn.ModuleList(HourglassStack(design, layers) for _ in range(num_stacks))
        # Nothing follows the last stack, so it has no merge: unused weights would have no gradient.
        self.merges = nn.ModuleList(layers.build_conv(channels, channels, 1) for _ in range(num_stacks - 1))
        self.out_channels, self.strides = (channels,) * num_stacks, (4,) * num_stacks
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return one feature map per stack, (B, C, H/4, W/4), of images (B, 3, H, W)."""
        (stack_input,) = self.stem(images)
        features = [self.stacks[0](stack_input)]
        for stack, merge in zip(self.stacks[1:], self.merges, strict=True):
            # The paper also adds the remapped predictions here; a network that has them is `HourglassHead`.
            stack_input = stack_input + merge(features[-1])
            features.append(stack(stack_input))
        return tuple(features)
