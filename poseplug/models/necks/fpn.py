"""Feature pyramid (Lin et al. 2017, arXiv:1612.03144)."""

from __future__ import annotations

__all__ = ['FPN']

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, conv_block, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class FPN(nn.Module):
    """Adds what coarser feature maps know to finer ones, from the coarsest to the finest.

    Every map is projected to the same channels by a 1x1 convolution, the coarser sum is enlarged to its size and added,
    and a 3x3 convolution smooths the result.

    Args:
        in_channels: Channels of every feature map; provided by the backbone.
        strides: Stride of every feature map, finest first; provided by the backbone.
        out_channels: Channels of the returned feature maps.
        out_strides: Strides of the returned feature maps, finest first; None for all. A coarser map that is not
            returned is still added to the finer ones.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: There are less than two feature maps.
        ConfigError: `out_strides` has an unknown stride.
    """

    needs = ('in_channels', 'strides')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        out_channels: int = 128,
        out_strides: Sequence[int] | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if len(in_channels) < 2:
            raise MismatchError(
                f'FPN adds coarser feature maps to finer ones, but the backbone returns one, of stride {strides[0]}; '
                f'set its out_strides, for example to (8, 16)'
            )
        self.strides = tuple(strides) if out_strides is None else check_strides('FPN', out_strides, strides)
        self.out_indices = tuple(list(strides).index(s) for s in self.strides)
        self.out_channels = (out_channels,) * len(self.strides)
        first = self.out_indices[0]  # finer maps have no effect on the returned ones
        self.laterals = nn.ModuleList(
            conv_block(n, out_channels, 1, 'BN', activation=None, layers=layers) for n in in_channels[first:]
        )
        self.outputs = nn.ModuleList(
            conv_block(out_channels, out_channels, 3, 'BN', layers=layers) for _ in self.out_indices
        )
        init_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Merge the feature maps.

        Args:
            features: Feature maps, each (B, C, H, W), finest first.

        Returns:
            One feature map per returned stride, (B, out_channels, H, W), finest first.
        """
        first = self.out_indices[0]
        merged = [lateral(f) for lateral, f in zip(self.laterals, features[first:], strict=True)]
        for index in range(len(merged) - 2, -1, -1):
            # Nearest neighbors, as in the paper; to the measured size, since odd sizes are rounded up.
            enlarged = F.interpolate(merged[index + 1], size=merged[index].shape[2:])
            merged[index] = merged[index] + enlarged
        # Smoothed behind the sums, so that what is passed down has seen one convolution only.
        chosen = [merged[index - first] for index in self.out_indices]
        return tuple(smooth(f) for smooth, f in zip(self.outputs, chosen, strict=True))
