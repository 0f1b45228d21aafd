"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with torchvision's parameter names."""

from __future__ import annotations

__all__ = ['MobileNetV2']

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_positive
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, conv_block, init_convolutions
from poseplug.registry import MODELS

# Table 2 of the paper: expansion, channels, number of blocks, stride of the first block.
_BLOCK_SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32  # at widen_factor 1
_STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class MobileNetV2(nn.Module):
    """Inverted residual blocks; the feature map of a stride is the output of its last block.

    Args:
        widen_factor: Factor on all channels, which are then rounded to multiples of 8.
        out_strides: Strides of the returned feature maps, finest first. Coarser blocks are not built.
        last_channels: Channels of a 1x1 convolution behind the last block, whose output is then the feature map of
            stride 32 (1280 in the classifier); None for no such convolution.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU6 by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: the factor is not positive, or `out_strides` has an unknown stride, or lacks 32 although
            there are `last_channels`.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        last_channels: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        check_positive('MobileNetV2', widen_factor=widen_factor)
        builder = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('MobileNetV2', out_strides, _STRIDES)
        layers, outputs = _build_blocks(widen_factor, self.strides[-1], builder)
        coarsest = _STRIDES[-1]
        if last_channels is not None:
            if self.strides[-1] != coarsest:
                raise ConfigError(
                    f'MobileNetV2: last_channels={last_channels} stand at stride {coarsest}, but out_strides is '
                    f'{self.strides}; add {coarsest} to it, or remove last_channels'
                )
            channels = outputs[coarsest].channels
            layers.append(conv_block(channels, last_channels, 1, 'BN', activation=nn.ReLU6, layers=builder))
            outputs[coarsest] = _Output(len(layers) - 1, last_channels)
        self.features = nn.Sequential(*layers)
        self.out_indices = tuple(outputs[s].layer_index for s in self.strides)
        self.out_channels = tuple(outputs[s].channels for s in self.strides)
        # By fan-in: the fan-out of a depthwise convolution counts channels that it does not reach.
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        return collect_feature_maps(images, self.features, self.out_indices)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, and 1x1 without activation, beside a shortcut if the shape stays.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        expand_ratio: Channels inside, as a multiple of `in_channels`; 1 has no first convolution.
        stride: Stride of the depthwise convolution.
        builder: What builds the layers.
        kernel_size: Side of the kernel of the depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expand_ratio: int,
        stride: int,
        builder: LayerBuilder = DEFAULT_LAYERS,
        kernel_size: int = 3,
    ):
        super().__init__()
        hidden = expand_ratio * in_channels
        self.has_shortcut = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = []
        # ReLU6 throughout: its bound keeps arithmetic of low precision robust (section 4 of the paper).
        if expand_ratio > 1:
            layers.append(conv_block(in_channels, hidden, 1, 'BN', activation=nn.ReLU6, layers=builder))
        depthwise = dict(stride=stride, groups=hidden)
        layers.append(conv_block(hidden, hidden, kernel_size, 'BN', activation=nn.ReLU6, layers=builder, **depthwise))
        # The last convolution and its norm are no block of their own in torchvision's parameter names.
        layers.extend(conv_block(hidden, out_channels, 1, 'BN', activation=None, layers=builder))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, out_channels, H/stride, W/stride) for `x` (B, in_channels, H, W)."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class _Output(NamedTuple):
    """The layer whose output is the feature map of a stride."""

    layer_index: int
    channels: int


def _build_blocks(
    widen_factor: float, max_stride: int, builder: LayerBuilder
) -> tuple[list[nn.Module], dict[int, _Output]]:
    """The stem and the blocks up to a stride, and by stride its last block."""
    in_channels, stride = make_divisible(_STEM_CHANNELS * widen_factor), 2
    layers: list[nn.Module] = [conv_block(3, in_channels, 3, 'BN', stride=2, activation=nn.ReLU6, layers=builder)]
    outputs = {}
    for expand_ratio, base_channels, count, first_stride in _BLOCK_SETTINGS:
        stride *= first_stride
        if stride > max_stride:
            break
        out_channels = make_divisible(base_channels * widen_factor)
        for i in range(count):
            block_stride = first_stride if i == 0 else 1
            layers.append(InvertedResidual(in_channels, out_channels, expand_ratio, block_stride, builder))
            in_channels = out_channels
        # Overwritten by a later row of the same stride: the 96 channels behind the 64 at stride 16 count.
        outputs[stride] = _Output(len(layers) - 1, out_channels)
    return layers, outputs


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round channels to the nearest multiple of a divisor, as MobileNetV2's release does.

    Args:
        channels: Requested number of channels.
        divisor: Number that divides the result.

    Returns:
        The multiple: at least `divisor`, and never less than 90 % of the request.
    """
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * channels else nearest + divisor
