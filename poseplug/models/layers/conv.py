"""Convolution blocks, and what backbones do with their strides, which several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder

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
