"""Branches side by side that refine one another's fields (Cao et al. 2017, arXiv:1611.08050, figure 3)."""

from __future__ import annotations

__all__ = ['OpenPoseHead']

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.heads.base import Head, find_stride_indices
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import LayerSpec, conv_stack, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class OpenPoseHead(Head):
    """One branch per field; each stage behind the first reads the image features and the fields of the stage before.

    The image features are the last feature map of the codec's stride. In the input of a later stage the fields stand
    first, in the codec's order. Every branch ends with a linear 1x1 convolution.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_stages: Number of stages.
        first_layers: (kernel size, channels) of the layers of a branch of stage 1.
        later_layers: The same of a branch of every other stage.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; none by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.
        init_std: Standard deviation of the initial weights; None for that of He et al. 2015.

    Raises:
        ConfigError: There is no stage.
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        num_stages: int = 6,
        first_layers: Sequence[LayerSpec] = ((3, 128), (3, 128), (3, 128), (1, 512)),
        later_layers: Sequence[LayerSpec] = ((7, 128), (7, 128), (7, 128), (7, 128), (7, 128), (1, 128)),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
        init_std: float | None = 0.01,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_stages < 1:
            raise ConfigError(f'OpenPoseHead needs at least one stage; got {num_stages=}')
        self.num_stages, self.stride, self.fields = num_stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.feature_index = find_stride_indices('OpenPoseHead', in_channels, strides, stride)[-1]
        channels = in_channels[self.feature_index]
        later_channels = channels + sum(fields.values())
        # Stage 1 has small kernels and sees the image alone; later ones have 7x7 kernels to see whole limbs.
        self.steps = nn.ModuleList([FieldBranches(channels, fields, first_layers, init_std, layers)])
        for _ in range(num_stages - 1):
            self.steps.append(FieldBranches(later_channels, fields, later_layers, init_std, layers))

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return run_refinement_stages(self.steps, features[self.feature_index])


class FieldBranches(nn.ModuleDict):
    """One stack of layers per field, each with its own linear 1x1 convolution at the end, with initial weights near 0.

    Args:
        in_channels: Channels of the input.
        fields: Names and channels of the fields.
        layers: (kernel size, channels) of the layers before the last convolution.
        init_std: Standard deviation of their initial weights; None for that of He et al. 2015.
        builder: What builds the layers; there are norms only if it has a `norm_cfg`.
    """

    def __init__(
        self,
        in_channels: int,
        fields: Mapping[str, int],
        layers: Sequence[LayerSpec],
        init_std: float | None = None,
        builder: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        for name, num_channels in fields.items():
            stack, width = conv_stack(in_channels, layers, builder.norm_name, builder)
            init_convolutions(stack, init_std)
            # Linear: a limb field has negative values.
            predict = nn.Conv2d(width, num_channels, 1)
            init_convolutions(predict, 0.01)
            self[name] = nn.Sequential(*stack, predict)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the fields, each (B, its channels, H, W), of features (B, C, H, W)."""
        return {name: branch(features) for name, branch in self.items()}


def run_refinement_stages(stage_modules: Iterable[nn.Module], features: Tensor) -> list[dict[str, Tensor]]:
    """Run stages in a row, each on the fields of the stage before it and the features.

    Args:
        stage_modules: The stages, each from one tensor to a dict of fields.
        features: (B, C, H, W).

    Returns:
        The fields of every stage.
    """
    stages: list[dict[str, Tensor]] = []
    for stage in stage_modules:
        last_fields = stages[-1].values() if stages else ()
        # The order of the channels is that of the released weights: fields, then features.
        stages.append(stage(torch.cat([*last_fields, features], dim=1)))
    return stages
