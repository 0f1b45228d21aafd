"""An instance at every cell, keypoints by direct offsets (Maji et al. 2022, arXiv:2204.06806), on YOLOX's towers."""

from __future__ import annotations

__all__ = ['YOLOXPoseHead']

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poseplug.core.errors import MismatchError
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
    """One tower of 3x3 convolutions each to score, box and keypoints, separately on every level.

    The defaults are RTMO's baseline. The published YOLOX-Pose reads a `YOLOXPAFPN` with
    `dict(project_inputs=False, pose_depth=4, has_objectness=True, cell_offset=0.0)`.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape of every field; provided by the codec.
        feat_channels: Channels of the towers.
        project_inputs: Whether a 1x1 convolution leads to the towers; without it, all feature maps have
            `feat_channels`.
        pose_depth: Number of convolutions of the tower to keypoints; the others have two.
        has_objectness: Whether the box tower also predicts how probable an instance is; the score is then the logit of
            the product of both probabilities.
        cell_offset: Where a cell stands between its first pixel's border, 0, and its last pixel's, 1.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: Without `project_inputs`, a feature map has not `feat_channels`.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes')
    TOWER_OUTPUTS = dict(score=('score',), box=('raw', 'objectness'), joints=('proxy', 'visible'))  # parameter names

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        feat_channels: int = 128,
        project_inputs: bool = True,
        pose_depth: int = 2,
        has_objectness: bool = False,
        cell_offset: float = 0.5,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if not project_inputs and {*in_channels} != {feat_channels}:
            raise MismatchError(
                f'YOLOXPoseHead without project_inputs reads feature maps of {feat_channels} channels, but the '
                f'backbone or neck has {tuple(in_channels)}; set feat_channels, or leave project_inputs out'
            )
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        self.cell_offset, self.has_objectness = cell_offset, has_objectness
        num_keypoints, num_levels = shapes['keypoints'][0], len(in_channels)
        self.entries = nn.ModuleList(
            conv_bn_act(n, feat_channels, 1, layers=layers) if project_inputs else nn.Identity() for n in in_channels
        )
        # Two convolutions are YOLOX's depth.
        depths = {name: pose_depth if name == 'joints' else 2 for name in self.TOWER_OUTPUTS}
        self.towers: Any = nn.ModuleDict(
            {name: build_towers(num_levels, feat_channels, layers, depth) for name, depth in depths.items()}
        )
        init_convolutions(self)
        configure_batch_norms(self, **YOLOX_NORM_CONSTANTS)
        output_channels = dict(score=1, raw=4, proxy=2 * num_keypoints, visible=num_keypoints)
        if has_objectness:
            output_channels['objectness'] = 1
        # Behind `init_convolutions`, which would undo the bias of the score.
        self.outputs = build_output_convs(num_levels, feat_channels, output_channels)

    def forward(self, features: Sequence[Tensor]) -> list[OneStageFields]:
        sizes = [f.shape[2:] for f in features]
        points, strides = build_grid_points(sizes, self.strides, features[0], self.cell_offset)
        features = [entry(f) for entry, f in zip(self.entries, features, strict=True)]
        fields = {}
        for tower_name, output_names in self.TOWER_OUTPUTS.items():
            tower_features = [tower(f) for tower, f in zip(self.towers[tower_name], features, strict=True)]
            for name in output_names:
                # Objectness is optional.
                if name in self.outputs:
                    fields[name] = predict_levels(self.outputs[name], tower_features)
        fields['score'] = fields['score'][..., 0]
        if self.has_objectness:
            # One score from here on, so that assigner, loss and codec know one kind of one-stage head.
            fields['score'] = multiply_probabilities(fields['score'], fields.pop('objectness')[..., 0])
        fields['box'] = decode_boxes(fields['raw'], points, strides)
        fields['proxy'] = decode_offsets(fields['proxy'], points, strides)
        return [{**fields, 'points': points, 'strides': strides}]

    def list_field_axes(self) -> list[FieldAxis]:
        return list_output_axes('outputs', self.outputs)

    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        return instances['proxy']


def multiply_probabilities(first: Tensor, second: Tensor) -> Tensor:
    """Return the logit of the product of two probabilities, from their logits of one shape.

    1 / ((1 + exp(-a)) (1 + exp(-b))) has the logit -log(exp(-a) + exp(-b) + exp(-a - b)).
    """
    # A sum of exponentials by logsumexp: products of small probabilities would underflow.
    return -torch.logsumexp(torch.stack([-first, -second, -first - second]), dim=0)
