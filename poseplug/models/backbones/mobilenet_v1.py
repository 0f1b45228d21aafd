"""MobileNet (Howard et al. 2017, arXiv:1704.04861), and its dilated form (Osokin 2018, arXiv:1811.12004)."""

from __future__ import annotations

__all__ = ['MobileNetV1']

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, conv_block, init_convolutions
from poseplug.registry import MODELS

# Table 1 of the paper, without the classifier: channels and stride of every depthwise separable block.
_BLOCK_SETTINGS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
_STEM_CHANNELS = 32  # at widen_factor 1
_STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class MobileNetV1(nn.Module):
    """Depthwise separable blocks; the feature map of a stride is the output of its last block.

    Lightweight OpenPose's trunk, which ends with conv5_5, is `out_strides=(8,), num_dilated=6`.

    Args:
        widen_factor: Factor on all channels.
        out_strides: Strides of the returned feature maps, finest first. Coarser blocks are not built, except for the
            dilated ones.
        num_dilated: Number of blocks, the first ones beyond the coarsest stride, that keep this stride. The 3x3
            convolution behind a block that lost its stride is dilated, which keeps its receptive field.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `out_strides` has an unknown stride, or there are fewer coarser blocks than `num_dilated`.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        num_dilated: int = 0,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('MobileNetV1', out_strides, _STRIDES)
        blocks, last_layers = _plan_blocks(self.strides[-1], num_dilated)
        base_channels = (_STEM_CHANNELS, *(block.channels for block in blocks))
        channels = [max(1, round(n * widen_factor)) for n in base_channels]
        modules: list[nn.Module] = [conv_block(3, channels[0], 3, 'BN', stride=2, layers=layers)]
        for in_channels, out_channels, block in zip(channels, channels[1:], blocks, strict=False):
            modules.append(_separable_conv(in_channels, out_channels, block.stride, block.dilation, layers))
        self.features = nn.Sequential(*modules)
        self.out_indices = tuple(last_layers[s] for s in self.strides)
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        # By fan-in, as in MobileNetV2.
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        return collect_feature_maps(images, self.features, self.out_indices)


class _BlockPlan(NamedTuple):
    """One depthwise separable block."""

    channels: int
    stride: int
    dilation: int


def _plan_blocks(max_stride: int, num_dilated: int) -> tuple[list[_BlockPlan], dict[int, int]]:
    """The blocks to build, and by stride the index of its last layer, the stem's being 0."""
    blocks: list[_BlockPlan] = []
    last_layers = {2: 0}
    # `stride` is that of the network so far, `lost_stride` the product of the strides that dilated blocks gave up.
    stride, lost_stride, dilation, dilated_count = 2, 1, 1, 0
    for channels, block_stride in _BLOCK_SETTINGS:
        # Blocks that stay within the coarsest requested stride are those of the paper.
        if stride * lost_stride * block_stride <= max_stride:
            stride *= block_stride
            blocks.append(_BlockPlan(channels, block_stride, 1))
        elif dilated_count == num_dilated:
            break
        else:
            dilated_count, lost_stride = dilated_count + 1, lost_stride * block_stride
            blocks.append(_BlockPlan(channels, 1, dilation))
            dilation = lost_stride if block_stride > 1 else 1  # of the next block
        # Overwritten until the stride grows: the last block of a stride gives its feature map.
        last_layers[stride] = len(blocks)
    if dilated_count != num_dilated:
        raise ConfigError(
            f'MobileNetV1 has {dilated_count} blocks coarser than stride {max_stride}, so num_dilated is from 0 to '
            f'{dilated_count}; got {num_dilated=}'
        )
    return blocks, last_layers


def _separable_conv(
    in_channels: int, out_channels: int, stride: int, dilation: int, layers: LayerBuilder
) -> nn.Sequential:
    """A depthwise 3x3 convolution and a 1x1 convolution, each with batch norm and ReLU."""
    depthwise: Any = dict(stride=stride, groups=in_channels, dilation=dilation)
    return nn.Sequential(
        conv_block(in_channels, in_channels, 3, 'BN', layers=layers, **depthwise),
        conv_block(in_channels, out_channels, 1, 'BN', layers=layers),
    )
