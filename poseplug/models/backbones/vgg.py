"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), with batch norms."""

from __future__ import annotations

__all__ = ['VGG']

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.registry import MODELS

_DEPTHS = {  # number of convolutions in each stage: columns A, B, D and E of table 1 of the paper
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_WIDTHS = (1, 2, 4, 8, 8)  # of the stages, in channels of the first
_STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each followed by a pooling that halves the map.

    Args:
        depth: 11, 13, 16 or 19.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.
        base_channels: Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: The depth is unknown, or `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        depth: int = 16,
        out_strides: Sequence[int] = (4, 8, 16, 32),
        base_channels: int = 64,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        builder = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if depth not in _DEPTHS:
            raise ConfigError(f'VGG has a depth of {", ".join(map(str, _DEPTHS))}; got {depth}')
        self.strides = check_strides('VGG', out_strides, _STRIDES)
        widths = [base_channels * factor for factor in _WIDTHS]
        self.out_channels = tuple(widths[_STRIDES.index(s)] for s in self.strides)
        # Rounded up, so that an odd size loses no row; sizes that 32 divides are the same either way.
        self.maxpool = nn.MaxPool2d(2, ceil_mode=True)
        self.stages = nn.ModuleList()
        in_channels = 3
        for i in range(_STRIDES.index(self.strides[-1]) + 1):
            blocks = []
            for _ in range(_DEPTHS[depth][i]):
                blocks.append(conv_bn_act(in_channels, widths[i], 3, activation=nn.ReLU, layers=builder))
                in_channels = widths[i]
            self.stages.append(nn.Sequential(*blocks))
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        x, maps = images, {}
        for stride, stage in zip(_STRIDES, self.stages, strict=False):
            x = self.maxpool(stage(x))
            maps[stride] = x
        return tuple(maps[s] for s in self.strides)
