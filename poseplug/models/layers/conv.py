"""Convolution blocks, residual blocks and the input normalization, which several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder
from poseplug.models.layers.squeeze_excitation import SqueezeExcitation

LayerSpec = Sequence[float]  # (kernel size, channels) or (kernel size, channels, dropout)


def conv_block(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str | None = None,
    dropout: float = 0.0,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
    dilation: int = 1,
    layers: LayerBuilder = DEFAULT_LAYERS,
) -> nn.Sequential:
    """Build a convolution with optional batch norm, activation and dropout behind it.

    An odd kernel keeps the size of the input at stride 1; a larger stride divides it, rounded up.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel.
        norm: 'BN' for the norm of `layers`, in which case the convolution has no bias, or None.
        dropout: Probability of dropout; 0 adds no layer.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        activation: Class of the activation, unless `layers` has another, or None for none.
        dilation: Dilation of the convolution.
        layers: What builds the layers.

    Returns:
        The layers in a row.

    Raises:
        ConfigError: `norm` is neither None nor 'BN'.
    """
    if norm not in (None, 'BN'):
        raise ConfigError(f"norm is None or 'BN'; got {norm!r}")
    # A norm subtracts the mean, so a bias before it would have no effect.
    settings = dict(
        stride=stride, padding=kernel_size // 2 * dilation, dilation=dilation, groups=groups, bias=norm is None
    )
    block = [layers.build_conv(in_channels, out_channels, kernel_size, **settings)]
    if norm:
        block.append(layers.build_norm(out_channels))
    if activation:
        block.append(layers.build_activation(activation))
    if dropout:
        block.append(nn.Dropout(dropout))
    return nn.Sequential(*block)


def conv_stack(
    in_channels: int,
    specs: Iterable[LayerSpec],
    norm: str | None = None,
    layers: LayerBuilder = DEFAULT_LAYERS,
) -> tuple[nn.Sequential, int]:
    """Build several `conv_block`s in a row.

    Args:
        in_channels: Channels of the input.
        specs: (kernel size, channels) or (kernel size, channels, dropout) of every block.
        norm: As in `conv_block`.
        layers: What builds the layers.

    Returns:
        The blocks, and the channels of the last one (of the input if there is none).
    """
    blocks = []
    # JSON and configs may state whole numbers as floats, hence `int` below.
    for kernel_size, channels, *rest in specs:
        dropout = rest[0] if rest else 0.0
        blocks.append(conv_block(in_channels, int(channels), int(kernel_size), norm, dropout, layers=layers))
        in_channels = int(channels)
    return nn.Sequential(*blocks), in_channels


def init_convolutions(module: nn.Module, std: float | None = None, fan_mode: str = 'fan_in') -> None:
    """Initialize the weights of all convolutions from a normal distribution, and their biases with 0.

    Args:
        module: Module whose convolutions are initialized in place, in the order of `modules()`.
        std: Standard deviation of the weights; by default that of He et al. 2015, arXiv:1502.01852.
        fan_mode: 'fan_in' or 'fan_out', which the default deviation follows.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if std is None:
                nn.init.kaiming_normal_(layer.weight, mode=fan_mode, nonlinearity='relu')  # type: ignore[arg-type]
            else:
                nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class ResidualOptions:
    """What variants of residual networks change in their blocks.

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


class BasicBlock(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, in_channels, H, W)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.se(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


class Bottleneck(nn.Module):
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, in_channels, H, W)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.se(self.bn3(self.conv3(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


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


class ChannelAttention(nn.Module):
    """Multiply every channel by a weight between 0 and 1 that follows from the means of all channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (B, C, H, W) with weighted channels."""
        # RTMDet's form: one layer without reduction, and a gate that is cheap on small devices.
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


def check_strides(part: str, out_strides: Sequence[int], available: Sequence[int]) -> tuple[int, ...]:
    """Check the strides that are requested from a backbone.

    Args:
        part: Name of the backbone, for the message.
        out_strides: Requested strides.
        available: Strides of the backbone's feature maps, finest first.

    Returns:
        The requested strides as a tuple.

    Raises:
        ConfigError: A stride is not available or repeated, the order is not finest first, or there is none.
    """
    requested = tuple(out_strides)
    # In the order of the available ones, so that repeated, unknown and unordered strides all differ.
    if not requested or requested != tuple(s for s in available if s in requested):
        strides = ', '.join(map(str, available))
        raise ConfigError(
            f'{part} has feature maps of strides {strides}; out_strides lists some of them, '
            f'finest first and each once; got {requested}'
        )
    return requested


def collect_feature_maps(images: Tensor, layers: Iterable[nn.Module], out_indices: Sequence[int]) -> tuple[Tensor, ...]:
    """Run the layers of a backbone in a row and return the outputs of some of them.

    Args:
        images: (B, C, H, W), input of the first layer.
        layers: The layers.
        out_indices: Indices of the layers whose outputs are returned, in increasing order.

    Returns:
        The outputs, each (B, C, H, W).
    """
    x, feature_maps = images, []
    for index, layer in enumerate(layers):
        x = layer(x)
        if index in out_indices:
            feature_maps.append(x)
    return tuple(feature_maps)


class InputNorm(nn.Module):
    """Normalize images for the network: (value - mean) / std of every channel.

    Args:
        mean: Mean of the three channels, 0 to 255.
        std: Standard deviation of the three channels, 0 to 255.
        channel_order: 'rgb' or 'bgr', the order of `mean`, of `std` and of the channels that the network receives.

    Raises:
        ConfigError: The order is unknown, or `mean` or `std` has not three values.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channel_order: str = 'rgb'):
        super().__init__()
        if channel_order not in ('rgb', 'bgr'):
            raise ConfigError(f"input_norm.channel_order is 'rgb' or 'bgr'; got {channel_order!r}")
        self.channel_order = channel_order
        for name, values in (('mean', mean), ('std', std)):
            if len(values) != 3:
                raise ConfigError(f'input_norm.{name} has one value per channel, 3 in all; got {values}')
            # Not part of the state dict: the numbers are settings, not weights.
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images.

        Args:
            images: (B, H, W, 3), BGR, 0 to 255.

        Returns:
            (B, 3, H, W) in the order of the network and of the type of its weights.
        """
        # (B, H, W, 3) to (B, 3, H, W); a view, which the arithmetic below copies once.
        pixels = images.permute(0, 3, 1, 2)
        # Images are BGR, as OpenCV reads them.
        if self.channel_order == 'rgb':
            pixels = pixels.flip(1)
        # In single precision at least; a network that was converted by `half()` receives halves.
        dtype = torch.promote_types(torch.float32, self.mean.dtype)
        return ((pixels.to(dtype) - self.mean) / self.std).to(self.mean.dtype)
