"""The simplest dense head (as in Xiao et al. 2018, arXiv:1804.06208, behind its deconvolutions)."""

from __future__ import annotations

__all__ = ['HeatmapHead']

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.models.heads.base import FieldAxis, Head, find_stride_indices
from poseplug.models.layers.building import BATCH_NORM, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_stack, init_convolutions
from poseplug.registry import MODELS


class FieldConvs(nn.ModuleDict):
    """One convolution per field that keeps the size, with initial weights near 0.

    Args:
        in_channels: Channels of the input.
        fields: Names and channels of the fields.
        kernel_size: Side of the square kernels, an odd number.
        init_std: Standard deviation of the initial weights.
    """

    def __init__(self, in_channels: int, fields: Mapping[str, int], kernel_size: int = 1, init_std: float = 0.001):
        padding = kernel_size // 2
        # The names are parameter names: weights of a codec with other fields do not load by accident.
        super().__init__({name: nn.Conv2d(in_channels, n, kernel_size, padding=padding) for name, n in fields.items()})
        init_convolutions(self, init_std)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the fields, each (B, its channels, H, W), of features (B, C, H, W)."""
        return {name: conv(features) for name, conv in self.items()}

    def list_axes(self, name: str) -> list[FieldAxis]:
        """List the axes of the fields.

        Args:
            name: Of this module in its head.
        """
        return [FieldAxis(f'{name}.{n}', 0, (n.split('.')[0],)) for n, _ in self.named_parameters()]


@MODELS.register_module()
class HeatmapHead(Head):
    """Every field by a 1x1 convolution of the last feature map that has the codec's stride.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        conv_layers: (kernel size, channels) of convolutions before the prediction.
        norm_cfg: Config of the norms behind these convolutions, such as `dict(type='GN', num_groups=32)`, or None for
            none; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        conv_layers: Sequence[Sequence[float]] = (),
        norm_cfg: LayerConfig | None = BATCH_NORM,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        # The last one: of stacked hourglasses that is the last stack.
        self.feature_index = find_stride_indices('HeatmapHead', in_channels, strides, stride)[-1]
        self.hidden, channels = conv_stack(in_channels[self.feature_index], conv_layers, layers.norm_name, layers)
        # By He et al., unlike the predictions, which start near 0 as in the releases of SimpleBaseline and HRNet.
        init_convolutions(self.hidden)
        self.predict = FieldConvs(channels, fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [self.predict(self.hidden(features[self.feature_index]))]

    def list_field_axes(self) -> list[FieldAxis]:
        return self.predict.list_axes('predict')
