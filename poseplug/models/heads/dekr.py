"""Disentangled keypoint regression (DEKR: Geng et al. 2021, arXiv:2104.02300)."""

from __future__ import annotations

__all__ = ['DEKRHead']

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.models.heads.base import FieldAxis, Head, find_stride_indices
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.deform_conv import deform_conv2d, list_kernel_cells
from poseplug.models.layers.residual import BasicBlock
from poseplug.registry import MODELS

_KERNEL_SIZE = 3
_NUM_BLOCKS = 2  # of adaptive convolutions


@MODELS.register_module()
class DEKRHead(Head):
    """One field is regressed by a branch per keypoint, with adaptive convolutions; the others come from a plain branch.

    An adaptive convolution moves the nine cells of its kernel by an affine function of them, which each branch predicts
    at every cell. Both kinds of branches read all feature maps of the codec's stride and coarser ones, at one size.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        regressed_field: Name of the field that is regressed, such as the 'displacement' of `CenterDisplacement`. If the
            codec has no such field, there are no adaptive convolutions.
        numbers_per_branch: Channels of that field that a branch predicts: x and y of a keypoint.
        channels_per_branch: Channels of a branch.
        heatmap_channels: Channels of the plain branch.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=1)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions but the adaptive ones; `nn.Conv2d` by default.

    Raises:
        MismatchError: No feature map has the codec's stride, or the regressed field has not `numbers_per_branch`
            channels for every branch.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        regressed_field: str = 'displacement',
        numbers_per_branch: int = 2,
        channels_per_branch: int = 15,
        heatmap_channels: int = 32,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.stride, self.fields, self.regressed_field = stride, dict(fields), regressed_field
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.finest = find_stride_indices('DEKRHead', in_channels, strides, stride)[0]
        self.feature_indices = [i for i, s in enumerate(strides) if s >= stride]
        width = sum(in_channels[i] for i in self.feature_indices)
        plain_fields = {name: n for name, n in fields.items() if name != regressed_field}
        self.hidden = nn.Sequential(
            conv_bn_act(width, heatmap_channels, 1, activation=nn.ReLU, layers=layers),
            BasicBlock(heatmap_channels, heatmap_channels, layers=layers),
        )
        # A codec of heatmaps alone has no field to regress, and the head no branches.
        self.branches = nn.Sequential()
        if regressed_field in fields:
            self.branches = _build_branches(
                width, fields[regressed_field], numbers_per_branch, channels_per_branch, layers
            )
        # Of everything so far; then the transformations and the predictions are set near 0.
        init_convolutions(self)
        for module in self.branches.children():
            if isinstance(module, AdaptiveBlock):
                module.init_transformation()
        self.predict = FieldConvs(heatmap_channels, plain_fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        size = features[self.finest].shape[-2:]
        maps = [features[i] for i in self.feature_indices]
        # All maps at one size, one after the other: HRNetV2's representation, which DEKR reads.
        enlarged = [m if m.shape[-2:] == size else F.interpolate(m, size=size, mode='bilinear') for m in maps]
        feature_map = torch.cat(enlarged, dim=1)
        fields = self.predict(self.hidden(feature_map)) if len(self.predict) else {}
        if len(self.branches):
            fields[self.regressed_field] = self.branches(feature_map)
        return [{name: fields[name] for name in self.fields}]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the plain fields; the branches of another skeleton are others."""
        return [] if len(self.branches) else self.predict.list_axes('predict')


def _build_branches(
    in_channels: int, out_channels: int, numbers_per_branch: int, channels_per_branch: int, layers: LayerBuilder
) -> nn.Sequential:
    """Build the branches as groups of channels, from features to the regressed field."""
    count, rest = divmod(out_channels, numbers_per_branch)
    if rest:
        raise MismatchError(
            f'DEKRHead predicts {numbers_per_branch} channels of its regressed field per branch, and the codec has '
            f'{out_channels}; set model.head.numbers_per_branch, or model.codec.type to CenterDisplacement'
        )
    channels = count * channels_per_branch
    return nn.Sequential(
        conv_bn_act(in_channels, channels, 1, activation=nn.ReLU, layers=layers),
        *(AdaptiveBlock(channels, count, layers) for _ in range(_NUM_BLOCKS)),
        nn.Conv2d(channels, out_channels, 1, groups=count),
    )


class AdaptiveBlock(nn.Module):
    """An adaptive convolution with a norm, beside a shortcut, in groups of channels that do not mix.

    Args:
        channels: Channels of the input and the output.
        groups: Number of groups.
        layers: What builds the layers.
    """

    kernel_cells: Tensor

    def __init__(self, channels: int, groups: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.groups = groups
        # For every group a 2x3 matrix: of rows and columns, and a translation.
        self.transformation = nn.Conv2d(channels, 6 * groups, _KERNEL_SIZE, padding=1, groups=groups)
        self.adaptive = nn.Conv2d(channels, channels, _KERNEL_SIZE, padding=1, groups=groups, bias=False)
        self.norm = layers.build_norm(channels)
        self.relu = layers.build_activation()
        self.register_buffer('kernel_cells', list_kernel_cells(_KERNEL_SIZE, torch.zeros(1)), persistent=False)

    def init_transformation(self) -> None:
        """Initialize the transformation near 0, which leaves the regular kernel."""
        nn.init.normal_(self.transformation.weight, 0.0, 0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, channels, H, W), of the same shape."""
        offsets = self._compute_offsets(self.transformation(x))
        out = self.norm(deform_conv2d(x, offsets, self.adaptive.weight, self.groups))
        return self.relu(out + x)

    def _compute_offsets(self, numbers: Tensor) -> Tensor:
        """Offsets (B, 18 groups, H, W) of the kernel's cells, of transformations (B, 6 groups, H, W)."""
        # (B, groups, H, W, 2, 3)
        matrices = numbers.unflatten(1, (self.groups, 2, 3)).permute(0, 1, 4, 5, 2, 3)
        # As released, the transformed cells are added to the regular ones.
        offsets = self.kernel_cells @ matrices[..., :2].mT + matrices[..., None, :, 2]
        return offsets.permute(0, 1, 4, 5, 2, 3).flatten(1, 3)  # (B, groups, cells, 2, H, W) before
