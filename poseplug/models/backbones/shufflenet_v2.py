"""ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164), with MMPose's parameter names."""

from __future__ import annotations

__all__ = ['ShuffleNetV2']

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.channel_shuffle import shuffle_channels
from poseplug.models.layers.conv import check_strides, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.registry import MODELS

# Channels of the three stages by widen_factor: table 5 of the paper.
_STAGE_CHANNELS = {
    0.5: (48, 96, 192),
    1.0: (116, 232, 464),
    1.5: (176, 352, 704),
    2.0: (244, 488, 976),
}
# Units of the three stages, at every widen_factor.
_STAGE_DEPTHS = (4, 8, 4)
_STEM_CHANNELS = 24
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ShuffleNetV2(nn.Module):
    """Units that convolve half of the channels and exchange channels between the halves, at strides 8, 16 and 32.

    Args:
        widen_factor: 0.5, 1.0, 1.5 or 2.0, the networks of the paper.
        out_strides: Strides of the returned feature maps, finest first; that of stride 4 is the stem's. Coarser stages
            are not built.
        last_channels: Channels of a 1x1 convolution behind the last stage, whose output is then the feature map of
            stride 32 (1024 in the classifier, 2048 at 2.0); None for no such convolution.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The factor is unknown, or `out_strides` has an unknown stride, or lacks 32 although there
            are `last_channels`.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        out_strides: Sequence[int] = _STRIDES,
        last_channels: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        builder = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if widen_factor not in _STAGE_CHANNELS:
            known = ', '.join(map(str, _STAGE_CHANNELS))
            raise ConfigError(f'ShuffleNetV2 has a widen_factor of {known}; got {widen_factor}')
        self.strides = check_strides('ShuffleNetV2', out_strides, _STRIDES)
        coarsest = _STRIDES[-1]
        if last_channels is not None and self.strides[-1] != coarsest:
            raise ConfigError(
                f'ShuffleNetV2: last_channels={last_channels} stand at stride {coarsest}, but out_strides is '
                f'{self.strides}; add {coarsest} to it, or remove last_channels'
            )
        channels = [_STEM_CHANNELS, *_STAGE_CHANNELS[widen_factor]]
        self.conv1 = conv_bn_act(3, _STEM_CHANNELS, 3, 2, activation=nn.ReLU, layers=builder)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.num_stages = _STRIDES.index(self.strides[-1])
        self.layers = nn.ModuleList()
        for i in range(self.num_stages):
            # The first unit of a stage halves the size and changes the channels.
            units: list[nn.Module] = [HalvingShuffleUnit(channels[i], channels[i + 1], builder)]
            units += [SplitShuffleUnit(channels[i + 1], builder) for _ in range(_STAGE_DEPTHS[i] - 1)]
            self.layers.append(nn.Sequential(*units))
        if last_channels is not None:
            self.layers.append(conv_bn_act(channels[-1], last_channels, 1, activation=nn.ReLU, layers=builder))
            channels[-1] = last_channels
        self.out_channels = tuple(channels[_STRIDES.index(s)] for s in self.strides)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        maps = [self.maxpool(self.conv1(images))]
        for layer in self.layers[: self.num_stages]:
            maps.append(layer(maps[-1]))
        # The 1x1 convolution keeps the stride, so its output replaces that of the last stage.
        for layer in self.layers[self.num_stages :]:
            maps[-1] = layer(maps[-1])
        return tuple(maps[_STRIDES.index(s)] for s in self.strides)


class SplitShuffleUnit(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions of the second half of the channels; then both halves are interleaved."""

    def __init__(self, channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        # Half of the channels pass unchanged; joining the halves replaces a sum (guidelines G3 and G4 of the paper).
        half = channels // 2
        self.branch2 = _build_branch(half, half, 1, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output for `x` (B, C, H, W)."""
        first, second = x.chunk(2, dim=1)
        return shuffle_channels(torch.cat([first, self.branch2(second)], dim=1), 2)


class HalvingShuffleUnit(nn.Module):
    """Two branches of stride 2 over all channels, whose outputs are interleaved."""

    def __init__(self, in_channels: int, out_channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        # Both branches read all channels, since the shape changes; each gives half of the output.
        half = out_channels // 2
        self.branch1 = nn.Sequential(
            conv_bn_act(in_channels, in_channels, 3, 2, in_channels, None, layers),
            conv_bn_act(in_channels, half, 1, activation=nn.ReLU, layers=layers),
        )
        self.branch2 = _build_branch(in_channels, half, 2, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output (B, out_channels, H/2, W/2) for `x` (B, in_channels, H, W)."""
        return shuffle_channels(torch.cat([self.branch1(x), self.branch2(x)], dim=1), 2)


def _build_branch(in_channels: int, channels: int, stride: int, layers: LayerBuilder) -> nn.Sequential:
    """1x1, depthwise 3x3 without activation, and 1x1 convolutions."""
    return nn.Sequential(
        conv_bn_act(in_channels, channels, 1, activation=nn.ReLU, layers=layers),
        conv_bn_act(channels, channels, 3, stride, channels, None, layers),
        conv_bn_act(channels, channels, 1, activation=nn.ReLU, layers=layers),
    )
