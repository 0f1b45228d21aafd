"""ShuffleNet (Zhang et al. 2018, arXiv:1707.01083)."""

from __future__ import annotations

__all__ = ['ShuffleNetV1']

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mobilenet_v2 import make_divisible
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.channel_shuffle import shuffle_channels
from poseplug.models.layers.conv import check_strides, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.registry import MODELS

_STAGE_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of the first stage by groups: table 1 of the paper
_STAGE_DEPTHS = (4, 8, 4)
_STEM_CHANNELS = 24
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ShuffleNetV1(nn.Module):
    """Bottlenecks of grouped 1x1 convolutions, between which channels are exchanged, at strides 8, 16 and 32.

    Args:
        groups: Groups of the 1x1 convolutions: 1, 2, 3, 4 or 8.
        widen_factor: Factor on the channels of all stages, which are then rounded to multiples of 4 * groups.
        out_strides: Strides of the returned feature maps, finest first; that of stride 4 is the stem's. Coarser stages
            are not built.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The paper has no network of this number of groups, or `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        groups: int = 3,
        widen_factor: float = 1.0,
        out_strides: Sequence[int] = _STRIDES,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        builder = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if groups not in _STAGE_CHANNELS:
            raise ConfigError(f'ShuffleNetV1 has {", ".join(map(str, _STAGE_CHANNELS))} groups; got {groups}')
        self.strides = check_strides('ShuffleNetV1', out_strides, _STRIDES)
        # A quarter of the channels is inside a unit, and its groups must divide that.
        first_channels = make_divisible(_STAGE_CHANNELS[groups] * widen_factor, 4 * groups)
        channels = [_STEM_CHANNELS, *(2**i * first_channels for i in range(len(_STAGE_DEPTHS)))]
        self.out_channels = tuple(channels[_STRIDES.index(s)] for s in self.strides)
        self.conv1 = conv_bn_act(3, _STEM_CHANNELS, 3, 2, activation=nn.ReLU, layers=builder)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.ModuleList()
        for i in range(_STRIDES.index(self.strides[-1])):
            # The stem has too few channels for groups.
            units = [ShuffleUnit(channels[i], channels[i + 1], groups, 1 if i == 0 else groups, 2, builder)]
            units += [
                ShuffleUnit(channels[i + 1], channels[i + 1], groups, groups, 1, builder)
                for _ in range(_STAGE_DEPTHS[i] - 1)
            ]
            self.layers.append(nn.Sequential(*units))
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        maps = [self.maxpool(self.conv1(images))]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return tuple(maps[_STRIDES.index(s)] for s in self.strides)


class ShuffleUnit(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions beside the input, or beside its means at stride 2.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; at stride 2 the input's channels are among them.
        groups: Groups of the last convolution, and of the exchange of channels.
        first_groups: Groups of the first convolution.
        stride: Stride of the 3x3 convolution.
        layers: What builds the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        first_groups: int,
        stride: int,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        hidden = out_channels // 4
        # At stride 2 the averaged input is concatenated, not added, so the convolutions make only the rest.
        new_channels = out_channels if stride == 1 else out_channels - in_channels
        self.groups, self.stride = groups, stride
        self.compress = conv_bn_act(in_channels, hidden, 1, 1, first_groups, nn.ReLU, layers)
        self.depthwise = conv_bn_act(hidden, hidden, 3, stride, hidden, None, layers)
        self.expand = conv_bn_act(hidden, new_channels, 1, 1, groups, None, layers)
        self.relu = layers.build_activation()

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output (B, out_channels, H/stride, W/stride) for `x` (B, in_channels, H, W)."""
        # The paper exchanges channels before the depthwise convolution, the released weights behind it.
        out = shuffle_channels(self.depthwise(self.compress(x)), self.groups)
        out = self.expand(out)
        if self.stride == 1:
            return self.relu(x + out)
        return self.relu(torch.cat([F.avg_pool2d(x, 3, self.stride, 1), out], dim=1))
