"""An instance at every cell, keypoints by direct offsets (Maji et al. 2022, arXiv:2204.06806), on YOLOX's towers."""

from __future__ import annotations

__all__ = ['YOLOXPoseHead']

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from poseplug.models.heads.base import FieldAxis
from poseplug.models.heads.one_stage import (
    OneStageFields,
    OneStageHead,
    build_grid_points,
    build_output_convs,
    build_towers,
    decode_boxes,
    decode_offsets,
    list_output_axes,
    predict_levels,
)
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import YOLOX_NORM_CONSTANTS, configure_batch_norms, conv_bn_act
from poseplug.registry import MODELS


@MODELS.register_module()
class YOLOXPoseHead(OneStageHead):
    """One tower of two 3x3 convolutions each to score, box and keypoints, separately on every level.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape of every field; provided by the codec.
        feat_channels: Channels of the towers.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes')
    TOWER_OUTPUTS = dict(score=('score',), box=('raw',), joints=('proxy', 'visible'))  # keys are parameter names

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        feat_channels: int = 128,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        num_keypoints, num_levels = shapes['keypoints'][0], len(in_channels)
        self.entries = nn.ModuleList(conv_bn_act(n, feat_channels, 1, layers=layers) for n in in_channels)
        self.towers: Any = nn.ModuleDict(
            {name: build_towers(num_levels, feat_channels, layers) for name in self.TOWER_OUTPUTS}
        )
        init_convolutions(self)
        configure_batch_norms(self, **YOLOX_NORM_CONSTANTS)
        output_channels = dict(score=1, raw=4, proxy=2 * num_keypoints, visible=num_keypoints)
        self.outputs = build_output_convs(num_levels, feat_channels, output_channels)

    def forward(self, features: Sequence[Tensor]) -> list[OneStageFields]:
        points, strides = build_grid_points([f.shape[2:] for f in features], self.strides, features[0])
        features = [entry(f) for entry, f in zip(self.entries, features, strict=True)]
        fields = {}
        for tower_name, output_names in self.TOWER_OUTPUTS.items():
            tower_features = [tower(f) for tower, f in zip(self.towers[tower_name], features, strict=True)]
            for name in output_names:
                fields[name] = predict_levels(self.outputs[name], tower_features)
        fields['score'] = fields['score'][..., 0]
        fields['box'] = decode_boxes(fields['raw'], points, strides)
        fields['proxy'] = decode_offsets(fields['proxy'], points, strides)
        return [{**fields, 'points': points, 'strides': strides}]

    def list_field_axes(self) -> list[FieldAxis]:
        return list_output_axes('outputs', self.outputs)

    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        return instances['proxy']
