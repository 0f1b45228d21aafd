"""Cross-stage-partial layers, which CSPDarknet and CSPNeXt share, with the published parameter names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder
from poseplug.models.layers.conv import ChannelAttention, check_strides, collect_feature_maps, conv_block

YOLOX_NORM_CONSTANTS = dict(eps=1e-3, momentum=0.03)  # of all batch norms in YOLOX's release, and in RTMO's

CSP_STRIDES = (4, 8, 16, 32)  # of the stages of both backbones
BuildBlock = Callable[[int, bool], nn.Module]  # of the channels, and of whether the identity is added


def conv_bn_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.SiLU,
    layers: LayerBuilder = DEFAULT_LAYERS,
) -> nn.Sequential:
    """Build a convolution, batch norm and activation with the names `conv`, `bn` and `act`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel.
        stride: Stride of the convolution.
        groups: Groups of the convolution.
        activation: Class of the activation, unless `layers` has another, or None for none.
        layers: What builds the layers.

    Returns:
        The named layers in a row.
    """
    block = conv_block(
        in_channels, out_channels, kernel_size, 'BN', stride=stride, groups=groups, activation=activation, layers=layers
    )
    return nn.Sequential(OrderedDict(zip(('conv', 'bn', 'act'), block, strict=False)))


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
        channels: Channels of the output, and of the input unless `in_channels` says otherwise.
        blocks: Blocks of `channels // 2` channels.
        attention: Whether to weight the channels by `ChannelAttention` before they are mixed.
        layers: What builds the layers.
        in_channels: Channels of the input.
    """

    def __init__(
        self,
        channels: int,
        blocks: Iterable[nn.Module],
        attention: bool = False,
        layers: LayerBuilder = DEFAULT_LAYERS,
        in_channels: int | None = None,
    ):
        super().__init__()
        half, in_channels = channels // 2, channels if in_channels is None else in_channels
        # Two convolutions instead of one that is split: their outputs are then contiguous, and the names released.
        self.main_conv = conv_bn_act(in_channels, half, 1, layers=layers)
        self.short_conv = conv_bn_act(in_channels, half, 1, layers=layers)
        self.blocks = nn.Sequential(*blocks)
        self.attention = ChannelAttention(2 * half) if attention else nn.Identity()  # Identity has no weights
        self.final_conv = conv_bn_act(2 * half, channels, 1, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (B, channels, H, W) for `x` (B, in_channels, H, W)."""
        halves = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(halves))


class SPP(nn.Module):
    """Spatial pyramid pooling: maxima over windows of 1, 5, 9 and 13 cells, between two 1x1 convolutions.

    A maximum over 9 cells is one over 5 of maxima over 5, and so on, so three poolings of 5 cells compute all of them.
    """

    def __init__(self, channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.conv1 = conv_bn_act(channels, channels // 2, 1, layers=layers)
        self.conv2 = conv_bn_act(4 * (channels // 2), channels, 1, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features of `x` (B, channels, H, W), of the same shape."""
        pooled = [self.conv1(x)]
        # Padding of 2 keeps the size; max pooling pads with minus infinity, which never wins.
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.conv2(torch.cat(pooled, dim=1))


def build_csp_stage(
    in_channels: int,
    out_channels: int,
    blocks: Iterable[nn.Module],
    pool: bool = False,
    attention: bool = False,
    layers: LayerBuilder = DEFAULT_LAYERS,
) -> nn.Sequential:
    """Build a stage of a backbone: a 3x3 convolution of stride 2, and a `CSPLayer`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        blocks: Blocks of the `CSPLayer`.
        pool: Whether an `SPP` stands between the two.
        attention: Whether the `CSPLayer` weights its channels.
        layers: What builds the layers.

    Returns:
        The stage, which halves the size, rounded up.
    """
    stage: list[nn.Module] = [conv_bn_act(in_channels, out_channels, 3, stride=2, layers=layers)]
    if pool:
        stage.append(SPP(out_channels, layers))
    stage.append(CSPLayer(out_channels, blocks, attention, layers))
    return nn.Sequential(*stage)


class CSPStages(nn.Module):
    """A stem and four stages of cross-stage-partial blocks, at strides 4, 8, 16 and 32.

    Args:
        stem: From images to features of stride 2.
        stem_channels: Channels of these.
        stages: Channels and number of blocks of every stage.
        build_block: Builds a block; in the last stage without the identity, as released.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.
        attention: Whether the layers weight their channels.
        layers: What builds the layers.

    Raises:
        ConfigError: `out_strides` has an unknown stride, or is not finest first.
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_channels: int,
        stages: Sequence[tuple[int, int]],
        build_block: BuildBlock,
        out_strides: Sequence[int],
        attention: bool,
        layers: LayerBuilder,
    ):
        super().__init__()
        self.strides = check_strides(type(self).__name__, out_strides, CSP_STRIDES)
        self.out_indices = tuple(CSP_STRIDES.index(s) for s in self.strides)
        self.num_stages = self.out_indices[-1] + 1
        self.stem = stem
        in_channels = stem_channels
        for i, (channels, depth) in enumerate(stages[: self.num_stages]):
            is_last = i == len(stages) - 1
            blocks = (build_block(channels // 2, not is_last) for _ in range(depth))
            # As in the releases, the last stage alone pools.
            stage = build_csp_stage(in_channels, channels, blocks, pool=is_last, attention=attention, layers=layers)
            self.add_module(f'stage{i + 1}', stage)
            in_channels = channels
        self.out_channels = tuple(stages[i][0] for i in self.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        stages = [getattr(self, f'stage{i + 1}') for i in range(self.num_stages)]
        return collect_feature_maps(self.stem(images), stages, self.out_indices)


def scale_csp_stages(
    stages: Sequence[tuple[int, int]], widen_factor: float, deepen_factor: float
) -> list[tuple[int, int]]:
    """Scale the channels of stages, rounded down, and their numbers of blocks, rounded to at least 1."""
    return [(int(width * widen_factor), max(round(depth * deepen_factor), 1)) for width, depth in stages]
