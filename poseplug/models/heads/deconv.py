"""Deconvolutions to the codec's stride (SimpleBaseline: Xiao et al. 2018, arXiv:1804.06208; ViTPose's classic head)."""

from __future__ import annotations

__all__ = ['DeconvHead']

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.core.errors import MismatchError
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.heads.simple import compute_upscale_factor
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.registry import MODELS


@MODELS.register_module()
class DeconvHead(Head):
    """The last feature map, doubled by deconvolutions (4x4, batch norm, ReLU), and a 1x1 convolution per field.

    There are as many deconvolutions as lead from the stride of the feature map to the codec's: three from 32 to 4, none
    if both are equal.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        deconv_out_channels: Channels of the deconvolutions, one number for all or one each.
        deconv_groups: Groups of the deconvolutions, one number for all or one each (16 in ViPNAS).
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.

    Raises:
        MismatchError: No number of doublings leads to the codec's stride, or `deconv_out_channels` is no list of this
            length.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        deconv_out_channels: int | Sequence[int] = 256,
        deconv_groups: int | Sequence[int] = 1,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        count = count_deconv_layers('DeconvHead', strides, stride)
        widths = expand_widths(deconv_out_channels, count)
        if len(widths) != count:
            raise MismatchError(
                f'DeconvHead needs {count} deconvolutions from the stride of the last feature map, {strides[-1]:g}, to '
                f'that of the codec, {stride:g}, but model.head.deconv_out_channels has {len(widths)}: {widths}'
            )
        groups = check_deconv_groups('DeconvHead', (in_channels[-1], *widths), deconv_groups)
        self.deconvs, channels = build_deconv_layers(in_channels[-1], widths, LayerBuilder(norm_cfg, act_cfg), groups)
        self.predict = FieldConvs(channels, fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        # The last map alone: SimpleBaseline has no skips to finer ones.
        return [self.predict(self.deconvs(features[-1]))]

    def list_field_axes(self) -> list[FieldAxis]:
        return self.predict.list_axes('predict')


def count_deconv_layers(part: str, strides: Sequence[int], stride: float) -> int:
    """Count the doublings from the last feature map to the codec's stride.

    Args:
        part: Name of the head, for the message.
        strides: Stride of every feature map.
        stride: Stride of the fields.

    Returns:
        Number of deconvolutions.

    Raises:
        MismatchError: The last feature map is finer than the fields, or coarser by a factor that is no power of 2.
    """
    ratio = compute_upscale_factor(part, strides, stride)
    # Rounded and checked: the logarithm of a power of 2 may be inexact.
    count = round(math.log2(ratio))
    if 2**count != ratio:
        raise MismatchError(
            f'{part} doubles the last feature map, of stride {strides[-1]:g}, and so never meets the stride of the '
            f'codec, {stride:g}; set model.codec.stride to {strides[-1]:g} divided by a power of 2, or use SimpleHead'
        )
    return count


def expand_widths(widths: int | Sequence[int], count: int) -> tuple[int, ...]:
    """Return the channels of every deconvolution: one number repeated `count` times, or a sequence as it is."""
    return (widths,) * count if isinstance(widths, int) else tuple(widths)


def check_deconv_groups(part: str, channels: Sequence[int], groups: int | Sequence[int]) -> tuple[int, ...]:
    """Check the groups of deconvolutions.

    Args:
        part: Name of the head, for the message.
        channels: Channels of the input and of every deconvolution.
        groups: Groups of the deconvolutions, one number for all or one each.

    Returns:
        The groups of every deconvolution.

    Raises:
        MismatchError: There is another number of groups than of deconvolutions, or groups do not divide the channels
            before and behind.
    """
    counts = expand_widths(groups, len(channels) - 1)
    if len(counts) != len(channels) - 1:
        raise MismatchError(
            f'{part} has {len(channels) - 1} deconvolutions, but model.head.deconv_groups has {len(counts)}: {counts}'
        )
    for count, before, behind in zip(counts, channels, channels[1:], strict=False):
        if count < 1 or before % count or behind % count:
            raise MismatchError(
                f'{part}: {count} groups of a deconvolution do not divide its {before} and {behind} channels; set '
                f'model.head.deconv_groups to a common divisor'
            )
    return counts


def build_deconv_layers(
    in_channels: int,
    widths: Sequence[int],
    builder: LayerBuilder = DEFAULT_LAYERS,
    groups: Sequence[int] | None = None,
) -> tuple[nn.Sequential, int]:
    """Build deconvolutions that double the size each: 4x4 without bias, batch norm, ReLU.

    Args:
        in_channels: Channels of the input.
        widths: Channels of every deconvolution.
        builder: What builds norms and activations.
        groups: Groups of every deconvolution; 1 by default.

    Returns:
        The layers in a row, and the channels of the last one (of the input if there is none).
    """
    layers: list[nn.Module] = []
    for out_channels, count in zip(widths, groups or (1,) * len(widths), strict=True):
        # A 4x4 kernel at stride 2 reaches every output cell equally often; a 3x3 kernel leaves a checkerboard.
        deconv = nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, groups=count, bias=False)
        # As in SimpleBaseline's release.
        nn.init.normal_(deconv.weight, 0.0, 0.001)
        layers += [deconv, builder.build_norm(out_channels), builder.build_activation()]
        in_channels = out_channels
    return nn.Sequential(*layers), in_channels
