"""Keypoints as expectations of heatmaps, which are trained as points (Sun et al. 2018, arXiv:1711.08229)."""

from __future__ import annotations

__all__ = ['IntegralHead']

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.deconv import build_deconv_layers, count_deconv_layers
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class IntegralHead(Head):
    """One map per keypoint of the last feature map, its softmax over all cells, and the position that this expects.

    A field (K, 2) receives the expected positions, as fractions of the input on the codec's grid, and a field
    (K, H, W) the distributions, of sum 1. Deconvolutions double the feature map up to the codec's stride; for a codec
    without cells it stays as it is.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape of every field, (K, 2) or (K, H, W); provided by the codec.
        input_size: (width, height) of the input in px; provided by the codec.
        stride: Input pixels per cell of the fields, or None without cells; provided by the codec.
        aligned: Whether the first and the last cell stand on the first and the last pixel, or cell g at `stride * g`
            px; provided by the codec.
        deconv_out_channels: Channels of the deconvolutions.
        beta: Factor on the maps before the softmax: a larger one makes the distributions narrower.
        debias: Correct the positions as MMPose does with its setting of that name, see `correct_positions`.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.

    Raises:
        MismatchError: The fields have other shapes, or no number of doublings leads to the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes', 'input_size', 'stride', 'aligned')
    field_kinds: ClassVar[tuple[str, ...]] = ('integral', 'points')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        input_size: Size,
        stride: int | None = None,
        aligned: bool = True,
        deconv_out_channels: int = 256,
        beta: float = 1.0,
        debias: bool = False,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        # Without cells the map stays at the stride of the features, and only its expectation is a field.
        self.stride, self.beta = strides[-1] if stride is None else stride, beta
        self.aligned, self.debias = aligned, debias
        num_keypoints = _count_integral_keypoints(shapes)
        widths = [deconv_out_channels] * count_deconv_layers('IntegralHead', strides, self.stride)
        self.deconvs, channels = build_deconv_layers(in_channels[-1], widths, LayerBuilder(norm_cfg, act_cfg))
        # A bias would not change the softmax, but the sum by which MMPose's `debias` corrects.
        self.maps = nn.Conv2d(channels, num_keypoints, 1, bias=debias)
        init_convolutions(self.maps, 0.001)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        # In single precision: the expectation is a sum over all cells.
        maps = self.maps(self.deconvs(features[-1])).float()
        probs = (self.beta * maps).flatten(2).softmax(dim=-1).view_as(maps)
        points = soft_argmax(probs, self.input_size, self.aligned)
        if self.debias:
            points = correct_positions(points, maps)
        return [{name: points if len(shape) == 2 else probs for name, shape in self.shapes.items()}]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axis of the map per keypoint, from which all fields follow."""
        field = next(iter(self.shapes))
        return [FieldAxis(f'maps.{name}', 0, (field,)) for name, _ in self.maps.named_parameters()]


def _count_integral_keypoints(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The number K of keypoints of one field (K, 2) and at most one field (K, H, W); raise for any others."""
    counts = {shape[0] for shape in shapes.values()}
    points = [shape for shape in shapes.values() if len(shape) == 2]
    maps = [shape for shape in shapes.values() if len(shape) == 3]
    is_known = len(points) == 1 and points[0][1] == 2 and len(maps) <= 1 and len(points) + len(maps) == len(shapes)
    if len(counts) != 1 or not is_known:
        raise MismatchError(
            f'IntegralHead predicts x and y of every keypoint, and the map that expects them; the codec reads '
            f'{dict(shapes)}; set model.codec.type to Integral or Regression'
        )
    return counts.pop()


def correct_positions(points: Tensor, maps: Tensor) -> Tensor:
    """Correct expected positions by MMPose's form of a debiased expectation (Gu et al. 2021).

    With C, the sum of the exponentials of a map, x becomes C / (C - 1) (x - 1 / (2 C)). The paper subtracts the pull of
    all cells; this form subtracts that of one. Weights that were trained with it need it.

    Args:
        points: (B, K, 2) expected positions, as fractions of the input.
        maps: (B, K, H, W) before the softmax and its factor `beta`.

    Returns:
        (B, K, 2).
    """
    # Of the maps without `beta`, as MMPose computes it; by 1 / C, since C itself overflows from values of 80 on.
    inverse = (-maps.flatten(2).logsumexp(dim=-1, keepdim=True)).exp()
    return (points - inverse / 2) / (1 - inverse)


def soft_argmax(probs: Tensor, input_size: Sequence[int], aligned: bool = True) -> Tensor:
    """Compute the expected positions of distributions over cells.

    Args:
        probs: (B, K, H, W), of sum 1 over the cells.
        input_size: (width, height) of the input in px.
        aligned: whether the first cell stands at the first pixel and the last at the last, a single cell in the
            middle; or cell g of n at g / n of the input.

    Returns:
        (B, K, 2), x and y as fractions of the input.
    """
    # Expectations of x and y need the sums over rows and over columns alone: (B, K, W) and (B, K, H).
    marginals = probs.sum(dim=-2), probs.sum(dim=-1)
    means = [
        (marginal * _cell_positions(marginal, num_pixels, aligned)).sum(dim=-1)
        for marginal, num_pixels in zip(marginals, input_size, strict=True)
    ]
    return torch.stack(means, dim=-1)


def _cell_positions(marginal: Tensor, num_pixels: int, aligned: bool) -> Tensor:
    """(n,) positions of the cells of a marginal (B, K, n), as fractions of `num_pixels`."""
    count, last = marginal.shape[-1], (num_pixels - 1) / num_pixels
    if not aligned:
        return torch.arange(count, dtype=marginal.dtype, device=marginal.device) / count
    if count == 1:
        return marginal.new_full((1,), last / 2)
    return torch.arange(count, dtype=marginal.dtype, device=marginal.device) * (last / (count - 1))
