"""Residual networks (He et al. 2016, arXiv:1512.03385), with torchvision's parameter names."""

from __future__ import annotations

__all__ = ['ResNet']

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import (
    BasicBlock,
    Bottleneck,
    check_strides,
    collect_feature_maps,
    init_convolutions,
    residual_blocks,
)
from poseplug.registry import MODELS

_BlockType = type[BasicBlock] | type[Bottleneck]
_DEPTHS: dict[int, tuple[_BlockType, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ResNet(nn.Module):
    """A 7x7 convolution and a pooling to stride 4, then four layers of residual blocks at strides 4, 8, 16 and 32.

    Args:
        depth: 18, 34, 50, 101 or 152.
        out_strides: Strides of the returned feature maps, finest first. Coarser layers are not built.
        base_channels: Channels of the stem. Layer l has `2 ** (l - 1) * base_channels`, from depth 50 on 4 times as
            many.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The depth is unknown, or `out_strides` has a stride that there is not.
    """

    def __init__(
        self,
        depth: int = 50,
        out_strides: Sequence[int] = _STRIDES,
        base_channels: int = 64,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if depth not in _DEPTHS:
            raise ConfigError(f'ResNet has a depth of {", ".join(map(str, _DEPTHS))}; got {depth}')
        block, depths = _DEPTHS[depth]
        self.strides = check_strides('ResNet', out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        self.num_layers = self.out_indices[-1] + 1
        self.conv1 = layers.build_conv(3, base_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = layers.build_norm(base_channels)
        self.relu = layers.build_activation()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        in_channels = base_channels
        for i in range(self.num_layers):
            # The pooling has already brought the first layer to its stride.
            width, stride = 2**i * base_channels, 1 if i == 0 else 2
            self.add_module(f'layer{i + 1}', residual_blocks(block, in_channels, width, depths[i], stride, layers))
            in_channels = width * block.expansion
        self.out_channels = tuple(2**i * base_channels * block.expansion for i in self.out_indices)
        init_convolutions(self, fan_mode='fan_out')  # keeps the size of gradients

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        stages = [getattr(self, f'layer{i + 1}') for i in range(self.num_layers)]
        return collect_feature_maps(x, stages, self.out_indices)
