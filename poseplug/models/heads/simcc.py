"""Coordinates by classification, from flattened heatmaps (SimCC: Li et al. 2022, arXiv:2107.03332)."""

from __future__ import annotations

__all__ = ['SimCCHead']

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.deconv import build_deconv_layers, check_deconv_groups, expand_widths
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.registry import MODELS

FieldShapes = Mapping[str, tuple[int, ...]]


@MODELS.register_module()
class SimCCHead(Head):
    """The last feature map, doubled by deconvolutions, one map per keypoint, and one linear layer per field on it.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, bins) of every field; provided by the codec.
        input_size: (width, height) of the input in px; provided by the codec.
        deconv_out_channels: Channels of the deconvolutions: one number for as many as lead to `feature_stride` or a
            finer one (none if the feature map is that fine), or one each, whatever stride they lead to.
        deconv_groups: Groups of the deconvolutions, one number for all or one each.
        feature_stride: Stride to which the deconvolutions lead if `deconv_out_channels` is one number.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.

    Raises:
        MismatchError: The fields are no bins, or the stride of the feature map does not divide the input.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes', 'input_size')
    field_kinds: ClassVar[tuple[str, ...]] = ('bins',)

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: FieldShapes,
        input_size: Size,
        deconv_out_channels: int | Sequence[int] = 256,
        deconv_groups: int | Sequence[int] = 1,
        feature_stride: int = 4,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        # Rounded up: a stride that is no power of 2 times `feature_stride` leads to a finer one.
        count = max(0, math.ceil(math.log2(strides[-1] / feature_stride)))
        widths = expand_widths(deconv_out_channels, count)
        self.feature_size = compute_feature_size('SimCCHead', input_size, strides[-1])
        groups = check_deconv_groups('SimCCHead', (in_channels[-1], *widths), deconv_groups)
        self.deconvs, channels = build_deconv_layers(in_channels[-1], widths, LayerBuilder(norm_cfg, act_cfg), groups)
        self.maps = nn.Conv2d(channels, count_bin_keypoints('SimCCHead', shapes), 1)
        init_convolutions(self.maps, 0.001)
        # Each deconvolution makes 4 cells of one.
        num_cells = math.prod(self.feature_size) * 4 ** len(widths)
        self.bins = BinLayers(num_cells, shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        feature_map = check_feature_size('SimCCHead', features[-1], self.feature_size, self.input_size)
        maps = self.maps(self.deconvs(feature_map))
        # (B, K, H, W) to one token (H * W) per keypoint
        return [self.bins(maps.flatten(2))]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the map per keypoint, from which all fields are predicted."""
        return [FieldAxis(f'maps.{name}', 0, ('x',)) for name, _ in self.maps.named_parameters()]


class BinLayers(nn.ModuleDict):
    """One linear layer per field, the same for all keypoints.

    Args:
        in_channels: Channels of the tokens.
        shapes: Shape (K, bins) of every field.
        bias: Whether the layers have a bias.
    """

    def __init__(self, in_channels: int, shapes: FieldShapes, bias: bool = True):
        super().__init__({name: nn.Linear(in_channels, shape[1], bias=bias) for name, shape in shapes.items()})
        for layer in self.children():
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]
            if bias:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Return the fields, each (B, K, bins), of one token per keypoint, (B, K, C)."""
        return {name: layer(tokens) for name, layer in self.items()}


def count_bin_keypoints(part: str, shapes: FieldShapes) -> int:
    """Return the number of keypoints of fields of bins.

    Args:
        part: Name of the head, for the message.
        shapes: Shape (K, bins) of every field.

    Returns:
        K, which all fields have in common.

    Raises:
        MismatchError: A field has another shape, or the fields differ in K.
    """
    if len({shape[0] for shape in shapes.values()}) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise MismatchError(
            f'{part} predicts one row of bins per keypoint in each field, (keypoints, bins) of one number of '
            f'keypoints; the codec reads {dict(shapes)}; set model.codec.type to SimCC'
        )
    return next(iter(shapes.values()))[0]


def compute_feature_size(part: str, input_size: Size, stride: int) -> Size:
    """Compute the size of a feature map that covers the input exactly.

    Args:
        part: Name of the head, for the message.
        input_size: (width, height) of the input in px.
        stride: Stride of the feature map.

    Returns:
        (width, height) in cells.

    Raises:
        MismatchError: The stride does not divide the input.
    """
    if any(n % stride for n in input_size):
        nearest = tuple(max(1, round(n / stride)) * stride for n in input_size)
        raise MismatchError(
            f'{part} reads every cell of the last feature map, of stride {stride:g}, which does not divide the input '
            f'of {tuple(input_size)} px; set model.codec.input_size={nearest}'
        )
    return input_size[0] // stride, input_size[1] // stride


def check_feature_size(part: str, features: Tensor, feature_size: Size, input_size: Size) -> Tensor:
    """Check that a feature map has the size that the head was built for.

    Args:
        part: Name of the head, for the message.
        features: (B, C, H, W).
        feature_size: Expected (width, height) in cells.
        input_size: (width, height) of the input that the head was built for, for the message.

    Returns:
        The features.

    Raises:
        MismatchError: They have another size.
    """
    size = (features.shape[-1], features.shape[-2])
    if size != feature_size:
        raise MismatchError(
            f'{part} was built for an input of {input_size} px and feature maps of {feature_size} cells, all (width, '
            f'height); these have {size}. Set model.codec.input_size to that of the images'
        )
    return features
