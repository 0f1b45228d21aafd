"""The cascaded pyramid network (Chen et al. 2018, arXiv:1711.07319; layers as in its released code)."""

from __future__ import annotations

__all__ = ['CPNHead']

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.heads.simple import upsample_bilinear
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_block, init_convolutions
from poseplug.models.layers.residual import Bottleneck
from poseplug.registry import MODELS


@MODELS.register_module()
class CPNHead(Head):
    """A pyramid that predicts at every level (GlobalNet), and one refined prediction from all levels (RefineNet).

    The stages are the levels, coarsest first, and then the refined prediction; each has all fields at the codec's
    stride. The levels are the finest `num_levels` of the feature maps at the codec's stride or coarser.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_levels: Largest number of levels.
        channels: Channels of every level, an even number.
        refined_stage: Whether there is a RefineNet; without it the last stage is that of the finest level, and the
            codec has `refined_stage=False`, too.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: There is no level, or `channels` is odd.
        MismatchError: All feature maps are finer than the codec.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        num_levels: int = 4,
        channels: int = 256,
        refined_stage: bool = True,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_levels < 1 or channels < 2 or channels % 2:
            raise ConfigError(f'CPNHead needs at least one level, and even channels; got {num_levels=}, {channels=}')
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_indices = _coarse_to_fine_indices('CPNHead', strides, stride)[-num_levels:]
        self.refined_stage = refined_stage
        self.num_stages = len(self.feature_indices) + refined_stage
        self.upscale_factor = strides[self.feature_indices[-1]] / stride
        widths = [in_channels[i] for i in self.feature_indices]
        self.laterals = nn.ModuleList(conv_block(w, channels, 1, norm='BN', layers=layers) for w in widths)
        # Neither norm nor activation, as released: the sum is linear in the coarser level.
        self.merges = nn.ModuleList(layers.build_conv(channels, channels, 1) for _ in widths[1:])
        self.hidden = nn.ModuleList(conv_block(channels, channels, 1, norm='BN', layers=layers) for _ in widths)
        if refined_stage:
            depths = reversed(range(len(widths)))  # a coarser level passes more bottlenecks
            self.refine = nn.ModuleList(_build_bottlenecks(channels, depth, layers) for depth in depths)
            # One more bottleneck mixes the levels and brings them back to `channels`.
            self.join = HalfBottleneck(channels * len(widths), channels // 2, layers=layers)
        init_convolutions(self)
        self.predict = nn.ModuleList(FieldConvs(channels, fields, kernel_size=3) for _ in range(self.num_stages))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        pyramid = self.build_pyramid([features[i] for i in self.feature_indices])
        size = [round(n * self.upscale_factor) for n in pyramid[-1].shape[-2:]]
        stages = []
        for level, hidden, predict in zip(pyramid, self.hidden, self.predict, strict=False):
            # Predicted at the level's own size, and enlarged afterwards.
            stages.append({name: upsample_bilinear(f, size) for name, f in predict(hidden(level)).items()})
        if not self.refined_stage:
            return stages
        refined = [upsample_bilinear(refine(level), size) for level, refine in zip(pyramid, self.refine, strict=True)]
        # Concatenated finest level first.
        return [*stages, self.predict[-1](self.join(torch.cat(refined[::-1], dim=1)))]

    def list_field_axes(self) -> list[FieldAxis]:
        return [axis for i, convs in enumerate(self.predict) for axis in convs.list_axes(f'predict.{i}')]  # type: ignore[operator]

    def build_pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Build GlobalNet's levels: each its own feature map, plus the next coarser level enlarged.

        Args:
            features: Feature maps, each (B, C, H, W), coarsest first.

        Returns:
            The levels, each (B, channels, H, W), coarsest first.
        """
        levels = [self.laterals[0](features[0])]
        for finer, lateral, merge in zip(features[1:], self.laterals[1:], self.merges, strict=True):
            levels.append(lateral(finer) + merge(upsample_bilinear(levels[-1], finer.shape[-2:])))
        return levels


class HalfBottleneck(Bottleneck):
    """A bottleneck whose 3x3 convolution has half the channels of its output, not a quarter."""

    expansion = 2


def _build_bottlenecks(channels: int, depth: int, layers: LayerBuilder) -> nn.Sequential:
    return nn.Sequential(*(HalfBottleneck(channels, channels // 2, layers=layers) for _ in range(depth)))


def _coarse_to_fine_indices(part: str, strides: Sequence[int], stride: float) -> list[int]:
    """Indices of the feature maps at the codec's stride or coarser, coarsest first, equal ones in their order."""
    indices = [i for i, s in enumerate(strides) if s >= stride]
    if not indices:
        raise MismatchError(
            f'{part} reads feature maps of the stride of the codec, {stride:g}, or coarser ones, but the backbone has '
            f'strides {tuple(strides)}; set model.codec.stride to {max(strides):g} or less'
        )
    return sorted(indices, key=lambda i: -strides[i])
