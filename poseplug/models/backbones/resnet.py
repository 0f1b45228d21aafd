"""Residual networks (He et al. 2016, arXiv:1512.03385) and their variants, with torchvision's parameter names."""

from __future__ import annotations

__all__ = ['ResNet']

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.residual import BasicBlock, Bottleneck, ResidualOptions, residual_blocks
from poseplug.models.layers.residual_variants import SelfCalibratedBottleneck, SplitAttentionBottleneck
from poseplug.registry import MODELS

# Number of blocks of every layer. Depths 200 and 269 are ResNeSt's, the others those of table 1 of the paper.
_DEPTHS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
_MIN_BOTTLENECK_DEPTH = 50
_BOTTLENECKS = {
    'plain': Bottleneck,
    'split_attention': SplitAttentionBottleneck,
    'self_calibrated': SelfCalibratedBottleneck,
}
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ResNet(nn.Module):
    """A 7x7 convolution and a pooling to stride 4, then four layers of residual blocks at strides 4, 8, 16 and 32.

    The variants are settings, which can be combined:

    | network | settings |
    |---|---|
    | ResNet-D (He et al. 2019, arXiv:1812.01187; MMPose's ResNetV1d) | `deep_stem=True, pool_shortcut=True` |
    | ResNeXt 32x4d (Xie et al. 2017, arXiv:1611.05431) | `groups=32, width_per_group=4` |
    | SE-ResNet (Hu et al. 2018, arXiv:1709.01507) | `se_ratio=16` |
    | SCNet (Liu et al. 2020) | `block='self_calibrated'` |
    | ResNeSt (Zhang et al. 2022, arXiv:2004.08955) | `block='split_attention', deep_stem=True, pool_shortcut=True` |

    Args:
        depth: 18, 34, 50, 101, 152, 200 or 269.
        out_strides: Strides of the returned feature maps, finest first. Coarser layers are not built.
        base_channels: Channels of the stem. Layer l has `2 ** (l - 1) * base_channels`, from depth 50 on 4 times as
            many.
        block: What stands between the two 1x1 convolutions of a block: 'plain' for a 3x3 convolution,
            'split_attention' or 'self_calibrated'. Below depth 50 there are only plain blocks.
        deep_stem: Whether the stem is three 3x3 convolutions, the first two of half as many channels.
        pool_shortcut: Whether shortcuts that halve a map average its cells.
        groups: Groups of the 3x3 convolutions; 1 below depth 50.
        width_per_group: Channels of a group in the first layer at 64 `base_channels`; 64 below depth 50.
        se_ratio: Ratio of channels to hidden channels of the channel weights before every sum, or None for none.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The depth or the block is unknown, the depth has no such blocks, or `out_strides` has an
            unknown stride.
    """

    def __init__(
        self,
        depth: int = 50,
        out_strides: Sequence[int] = _STRIDES,
        base_channels: int = 64,
        block: str = 'plain',
        deep_stem: bool = False,
        pool_shortcut: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        se_ratio: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        check_counts('ResNet', groups=groups, width_per_group=width_per_group, se_ratio=se_ratio or 1)
        options = ResidualOptions(groups, width_per_group, se_ratio, pool_shortcut)
        block_type = _choose_block(depth, block, options)
        self.strides = check_strides('ResNet', out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        self.num_layers = self.out_indices[-1] + 1
        self.deep_stem = deep_stem
        # The released names differ, too: `stem` is ResNet-D's, `conv1` and `bn1` are torchvision's.
        if deep_stem:
            self.stem = _build_deep_stem(base_channels, layers)
        else:
            self.conv1 = layers.build_conv(3, base_channels, 7, stride=2, padding=3, bias=False)
            self.bn1 = layers.build_norm(base_channels)
            self.relu = layers.build_activation()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        in_channels = base_channels
        for i in range(self.num_layers):
            # The pooling has already brought the first layer to its stride.
            width, stride, count = 2**i * base_channels, 1 if i == 0 else 2, _DEPTHS[depth][i]
            blocks = residual_blocks(block_type, in_channels, width, count, stride, layers, options)
            self.add_module(f'layer{i + 1}', blocks)
            in_channels = width * block_type.expansion
        self.out_channels = tuple(2**i * base_channels * block_type.expansion for i in self.out_indices)
        init_convolutions(self, fan_mode='fan_out')  # keeps the size of gradients

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        x = self.stem(images) if self.deep_stem else self.relu(self.bn1(self.conv1(images)))
        stages = [getattr(self, f'layer{i + 1}') for i in range(self.num_layers)]
        return collect_feature_maps(self.maxpool(x), stages, self.out_indices)


def _choose_block(depth: int, block: str, options: ResidualOptions) -> Any:
    """The class of the blocks; raise if the depth has no such blocks."""
    if depth not in _DEPTHS:
        raise ConfigError(f'ResNet has a depth of {", ".join(map(str, _DEPTHS))}; got {depth}')
    if block not in _BOTTLENECKS:
        raise ConfigError(f'ResNet has a block of {", ".join(_BOTTLENECKS)}; got {block!r}')
    if depth >= _MIN_BOTTLENECK_DEPTH:
        return _BOTTLENECKS[block]
    # A basic block has no inner channels to group; torchvision refuses the same.
    if block != 'plain' or options.groups != 1 or options.width_per_group != 64:
        raise ConfigError(
            f'ResNet: block, groups and width_per_group change the bottlenecks that there are from depth '
            f'{_MIN_BOTTLENECK_DEPTH} on; got {depth=}, {block=}, groups={options.groups}, '
            f'width_per_group={options.width_per_group}'
        )
    return BasicBlock


def _build_deep_stem(channels: int, layers: LayerBuilder) -> nn.Sequential:
    """Three 3x3 convolutions, the first of stride 2, in place of the 7x7 convolution."""
    half = channels // 2
    specs = ((3, half, 2), (half, half, 1), (half, channels, 1))
    return nn.Sequential(*(conv_bn_act(c, n, 3, stride, activation=nn.ReLU, layers=layers) for c, n, stride in specs))
