"""ViPNAS's mobile network (Xu et al. 2021, arXiv:2105.10154), of MobileNetV3's blocks (arXiv:1905.02244)."""

from __future__ import annotations

__all__ = ['ViPNASMobileNetV3']

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.squeeze_excitation import SqueezeExcitation
from poseplug.registry import MODELS


@dataclass(frozen=True)
class _StageSettings:
    """Settings of the blocks of a stage, as the search chose them."""

    channels: int
    expand_ratio: int  # of the channels of the stage, not of the block's input
    count: int
    kernel_size: int
    groups: int
    stride: int
    has_weights: bool = True  # squeeze and excitation
    activation: type[nn.Module] = nn.Hardswish


_STEM_CHANNELS = 16
# In MobileNetV3, too, a quarter of a block's inner channels.
_SE_RATIO = 4
_STAGES = (
    _StageSettings(16, 1, 1, 3, 8, 1, activation=nn.ReLU),
    _StageSettings(24, 5, 4, 7, 120, 2, activation=nn.ReLU),
    _StageSettings(40, 4, 4, 7, 20, 2, has_weights=False, activation=nn.ReLU),
    _StageSettings(80, 5, 4, 5, 100, 2),
    _StageSettings(112, 5, 4, 7, 280, 1),
    _StageSettings(160, 6, 4, 5, 240, 2),
)
_STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class ViPNASMobileNetV3(nn.Module):
    """Inverted residual blocks with grouped convolutions; the feature map of a stride is the output of its last block.

    Args:
        out_strides: Strides of the returned feature maps, finest first. Coarser blocks are not built.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; by default ReLU at strides 2 to 8, and
            hard swish elsewhere.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        builder = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('ViPNASMobileNetV3', out_strides, _STRIDES)
        self.conv1 = conv_bn_act(3, _STEM_CHANNELS, 3, 2, activation=nn.Hardswish, layers=builder)
        self.blocks = nn.ModuleList()
        in_channels, stride, outputs = _STEM_CHANNELS, 2, {}
        for stage in _STAGES:
            stride *= stage.stride
            if stride > self.strides[-1]:
                break
            for i in range(stage.count):
                block_stride = stage.stride if i == 0 else 1
                self.blocks.append(GroupedInvertedResidual(in_channels, stage, block_stride, builder))
                in_channels = stage.channels
            # Overwritten by a later stage of the same stride: its last block gives the feature map.
            outputs[stride] = (len(self.blocks) - 1, stage.channels)
        self.out_indices = tuple(outputs[s][0] for s in self.strides)
        self.out_channels = tuple(outputs[s][1] for s in self.strides)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        return collect_feature_maps(self.conv1(images), self.blocks, self.out_indices)


class SteepHardSigmoid(nn.Module):
    """(x + 1) / 2, clipped to 0..1, as the released weights have it; torch's has (x + 3) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        """Return numbers of the shape of `x`, between 0 and 1."""
        return ((x + 1) / 2).clamp(0, 1)


class GroupedInvertedResidual(nn.Module):
    """1x1 to more channels, grouped k x k, channel weights, and 1x1 without activation, beside a shortcut.

    Args:
        in_channels: Channels of the input.
        stage: The settings of the block's stage.
        stride: Stride of the grouped convolution; there is a shortcut if the shape stays.
        layers: What builds the layers.
    """

    def __init__(self, in_channels: int, stage: _StageSettings, stride: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        channels, activation = stage.channels, stage.activation
        hidden = stage.expand_ratio * channels
        self.has_shortcut = stride == 1 and in_channels == channels
        has_expansion = stage.expand_ratio > 1
        self.expand_conv = (
            conv_bn_act(in_channels, hidden, 1, activation=activation, layers=layers)
            if has_expansion
            else nn.Identity()
        )
        self.depthwise_conv = conv_bn_act(hidden, hidden, stage.kernel_size, stride, stage.groups, activation, layers)
        self.se = (
            SqueezeExcitation(hidden, _SE_RATIO, SteepHardSigmoid(), layers) if stage.has_weights else nn.Identity()
        )
        self.linear_conv = conv_bn_act(hidden, channels, 1, activation=None, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, channels, H/stride, W/stride) for `x` (B, in_channels, H, W)."""
        out = self.linear_conv(self.se(self.depthwise_conv(self.expand_conv(x))))
        return x + out if self.has_shortcut else out
