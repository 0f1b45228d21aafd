"""Stacked hourglasses with predictions in between (Newell et al. 2016, arXiv:1603.06937; released training code)."""

from __future__ import annotations

__all__ = ['HourglassHead']

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.hourglass import (
    HourglassBlock,
    HourglassDesign,
    HourglassStack,
    HourglassUpsampling,
    PreActResidual,
    resize_features,
)
from poseplug.models.heads.base import FieldAxis, Head, find_first_weight, find_stride_indices
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class HourglassHead(Head):
    """Hourglasses in a row, each of which predicts all fields; its predictions feed the next one.

    The input of a stack is that of the stack before it, plus 1x1 convolutions of that stack's features and of its
    predictions. The first stack reads the last feature map of the codec's stride, through a residual if this map has
    other channels.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_stacks: Number of hourglasses.
        channels: Channels of all features, an even number.
        depth: Number of poolings of an hourglass.
        num_modules: Number of residuals at every position of an hourglass.
        remap_predictions: Whether the predictions feed the next stack.
        block: Kind of the blocks: 'residual', a 'large' kernel of 5x5, or 'double', two of 3x3 in its place.
        upsampling: How features are enlarged: 'nearest' neighbors or 'bilinear'.
        repeat_stack: Whether one stack is applied again and again, with predictions of its own each time.
        predict_inside: Whether each hourglass also predicts before its last upsampling, as a stage before its own; the
            fields are enlarged to the codec's grid.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: A number is too small, `channels` is odd, or a kind is unknown.
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        num_stacks: int = 8,
        channels: int = 256,
        depth: int = 4,
        num_modules: int = 1,
        remap_predictions: bool = True,
        block: HourglassBlock = 'residual',
        upsampling: HourglassUpsampling = 'nearest',
        repeat_stack: bool = False,
        predict_inside: bool = False,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_stacks < 1:
            raise ConfigError(f'HourglassHead needs at least one stack; got {num_stacks=}')
        # With predictions inside, a stack has two stages: before its last upsampling, and at its end.
        self.num_stages, self.stride, self.fields = num_stacks * (1 + predict_inside), stride, dict(fields)
        self.upsampling = upsampling
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_index = find_stride_indices('HourglassHead', in_channels, strides, stride)[-1]
        width, num_fields = in_channels[self.feature_index], sum(fields.values())
        # Behind an `HourglassStem` of the same channels this is the released network.
        self.enter = nn.Identity() if width == channels else PreActResidual(width, channels, layers)
        design = HourglassDesign(channels, depth, num_modules, block, upsampling)
        num_copies = 1 if repeat_stack else num_stacks
        self.stacks = nn.ModuleList(HourglassStack(design, layers) for _ in range(num_copies))
        self.merges = nn.ModuleList(layers.build_conv(channels, channels, 1) for _ in range(num_stacks - 1))
        # Weights that nothing reads would have no gradient, and parallel training waits for every gradient.
        num_remaps = num_stacks - 1 if remap_predictions else 0
        self.remaps = nn.ModuleList(layers.build_conv(num_fields, channels, 1) for _ in range(num_remaps))
        init_convolutions(self)
        self.predict = nn.ModuleList(FieldConvs(channels, fields) for _ in range(num_stacks))
        num_inside = num_stacks if predict_inside else 0
        self.predict_low = nn.ModuleList(FieldConvs(channels, fields) for _ in range(num_inside))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        stack_input = self.enter(features[self.feature_index])
        stages: list[dict[str, Tensor]] = []
        for t, predict in enumerate(self.predict):
            # A repeated stack is the only one, so that the index stays 0.
            stack = self.stacks[min(t, len(self.stacks) - 1)]
            assert isinstance(stack, HourglassStack)
            stack_output, low = stack.forward_with_low(stack_input)
            if self.predict_low:
                low_fields = self.predict_low[t](low)
                stages.append({n: resize_features(f, stack_output, self.upsampling) for n, f in low_fields.items()})
            stages.append(predict(stack_output))
            # The last stack has neither, as nothing follows it.
            if t < len(self.merges):
                stack_input = stack_input + self.merges[t](stack_output)
            if t < len(self.remaps):
                stack_input = stack_input + self.remaps[t](torch.cat(list(stages[-1].values()), dim=1))
        return stages

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the predicted fields, and of those that the next stack reads."""
        axes = []
        for name, predictions in (('predict', self.predict), ('predict_low', self.predict_low)):
            for t, layers in enumerate(predictions):
                assert isinstance(layers, FieldConvs)
                axes += layers.list_axes(f'{name}.{t}')
        weights = [f'remaps.{t}.{find_first_weight(remap)}' for t, remap in enumerate(self.remaps)]
        return axes + [FieldAxis(name, 1, tuple(self.fields)) for name in weights]
