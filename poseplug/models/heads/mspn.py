"""Predictions at every level of one or several pyramids (MSPN: Li et al. 2019, arXiv:1901.00148)."""

from __future__ import annotations

__all__ = ['MSPNHead']

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.registry import MODELS


@MODELS.register_module()
class MSPNHead(Head):
    """A 1x1 and a 3x3 convolution, each with a norm, on every feature map; the fields are enlarged to the codec's grid.

    The stages are the feature maps of the codec's stride or coarser, pyramid by pyramid, each coarsest first. A pyramid
    ends where the next feature map is not coarser than the one before.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=1)`; batch norm by default. Those of the
            fields have as many channels as the fields.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: All feature maps are finer than the codec.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_indices = _order_levels(strides, stride)
        self.num_stages = len(self.feature_indices)
        channels = [in_channels[i] for i in self.feature_indices]
        self.hidden = nn.ModuleList(conv_bn_act(n, n, 1, activation=nn.ReLU, layers=layers) for n in channels)
        # As released, a norm stands behind the prediction.
        self.predict = nn.ModuleList(NormedFieldConvs(n, fields, layers) for n in channels)
        init_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        # The fields of all stages have the codec's grid: that of the finest map, or one finer than it by `factor`.
        finest = min(self.feature_indices, key=lambda i: self.strides[i])
        factor = self.strides[finest] / self.stride
        size = [round(n * factor) for n in features[finest].shape[-2:]]
        stages = []
        for index, hidden, predict in zip(self.feature_indices, self.hidden, self.predict, strict=True):
            # Predicted at its own size and then enlarged, corners aligned as in the released network.
            fields = predict(hidden(features[index]))
            stages.append(
                {n: F.interpolate(f, size=size, mode='bilinear', align_corners=True) for n, f in fields.items()}
            )
        return stages

    def list_field_axes(self) -> list[FieldAxis]:
        return [axis for i, convs in enumerate(self.predict) for axis in convs.list_axes(f'predict.{i}')]  # type: ignore[operator]


class NormedFieldConvs(nn.ModuleDict):
    """One 3x3 convolution with a norm per field.

    Args:
        in_channels: Channels of the input.
        fields: Names and channels of the fields.
        layers: What builds the layers.
    """

    def __init__(self, in_channels: int, fields: Mapping[str, int], layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__(
            {name: conv_bn_act(in_channels, n, 3, activation=None, layers=layers) for name, n in fields.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the fields, each (B, its channels, H, W), of features (B, C, H, W)."""
        return {name: conv(features) for name, conv in self.items()}

    def list_axes(self, name: str) -> list[FieldAxis]:
        """List the axes of the fields: of weights, and of the norms' parameters and statistics.

        Args:
            name: Of this module in its head.
        """
        return [FieldAxis(f'{name}.{n}', 0, (n.split('.')[0],)) for n, v in self.state_dict().items() if v.ndim]


def _order_levels(strides: Sequence[int], stride: float) -> list[int]:
    """Indices of the feature maps of a stride or coarser, pyramid by pyramid, each coarsest first."""
    pyramids: list[list[int]] = []
    for index, level_stride in enumerate(strides):
        if level_stride < stride:
            continue
        # Levels of a stage come finest first; where the stride falls again, the next stage begins.
        if not pyramids or level_stride <= strides[pyramids[-1][0]]:
            pyramids.append([])
        pyramids[-1].insert(0, index)
    if not pyramids:
        raise MismatchError(
            f'MSPNHead reads feature maps of the stride of the codec, {stride:g}, or coarser ones, but the backbone '
            f'has strides {tuple(strides)}; set model.codec.stride to {max(strides):g} or less'
        )
    return [index for pyramid in pyramids for index in pyramid]
