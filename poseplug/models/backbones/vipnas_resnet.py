"""ViPNAS's residual network (Xu et al. 2021, arXiv:2105.10154)."""

from __future__ import annotations

__all__ = ['ViPNASResNet']

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, init_convolutions
from poseplug.models.layers.global_context import GlobalContext
from poseplug.models.layers.residual import ResidualBlock, build_shortcut
from poseplug.registry import MODELS

# Also found by the search; ResNet has 64.
_STEM_CHANNELS = 48
# What the search found for each layer: width, number of blocks, kernel size, and whether blocks add a global context.
_LAYERS = ((80, 4, 3, True), (160, 6, 5, False), (304, 7, 5, True), (608, 3, 5, True))
_GROUPS = 16
_CONTEXT_RATIO = 16
_MIN_CONTEXT_CHANNELS = 16
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ViPNASResNet(nn.Module):
    """The searched ResNet-50: blocks with grouped 3x3 or 5x5 convolutions and global contexts.

    Args:
        out_strides: Strides of the returned feature maps, finest first. Coarser layers are not built.
        widen_factor: Factor on all channels, which are then rounded down to multiples of the 16 groups.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        out_strides: Sequence[int] = _STRIDES,
        widen_factor: float = 1.0,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('ViPNASResNet', out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        self.num_layers = self.out_indices[-1] + 1
        in_channels = _scale_channels(_STEM_CHANNELS, widen_factor)
        self.conv1 = layers.build_conv(3, in_channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = layers.build_norm(in_channels)
        self.relu = layers.build_activation()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [_scale_channels(width, widen_factor) for width, *_ in _LAYERS]
        for i, (_, count, kernel_size, has_context) in enumerate(_LAYERS[: self.num_layers]):
            blocks = []
            for j in range(count):
                # The pooling has already brought the first layer to its stride.
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(ViPNASBlock(in_channels, widths[i], kernel_size, stride, has_context, layers))
                in_channels = widths[i]
            self.add_module(f'layer{i + 1}', nn.Sequential(*blocks))
        self.out_channels = tuple(widths[i] for i in self.out_indices)
        init_convolutions(self)

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


def _scale_channels(channels: int, factor: float) -> int:
    return max(1, int(channels * factor) // _GROUPS) * _GROUPS


class ViPNASBlock(ResidualBlock):
    """1x1, grouped k x k and 1x1 convolutions of equal width beside a shortcut, with a global context before the sum.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the convolutions and the output.
        kernel_size: Side of the kernel of the grouped convolution.
        stride: Stride of the grouped convolution.
        has_context: Whether a `GlobalContext` is added.
        layers: What builds the layers.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        has_context: bool = False,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        spatial = dict(stride=stride, padding=kernel_size // 2, groups=_GROUPS)
        # All three convolutions have the same width: there is no expansion by 4 as in ResNet.
        self.conv1 = layers.build_conv(in_channels, channels, 1, bias=False)
        self.bn1 = layers.build_norm(channels)
        self.conv2 = layers.build_conv(channels, channels, kernel_size, bias=False, **spatial)
        self.bn2 = layers.build_norm(channels)
        self.conv3 = layers.build_conv(channels, channels, 1, bias=False)
        self.bn3 = layers.build_norm(channels)
        hidden = max(_MIN_CONTEXT_CHANNELS, channels // _CONTEXT_RATIO)
        self.context = GlobalContext(channels, hidden) if has_context else nn.Identity()
        self.downsample = build_shortcut(in_channels, channels, stride, layers)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        # Before the sum, so that the shortcut has no context added.
        return self.context(self.bn3(self.conv3(out)))
