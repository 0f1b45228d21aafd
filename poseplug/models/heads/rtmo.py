"""RTMO's head (Lu et al. 2023, arXiv:2312.07526): an instance at every cell, keypoints by dynamic classification."""

from __future__ import annotations

__all__ = ['RTMOHead']

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size
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
from poseplug.models.layers.dcc import DCC, KeypointDistributions
from poseplug.registry import MODELS

_NUM_GROUPS = 8  # of the pose branch's convolutions


@MODELS.register_module()
class RTMOHead(OneStageHead):
    """One half of the channels leads to the score, the other to box, proxy keypoints, visibility and pose vector.

    The proxies, keypoints by direct offsets, are predicted in training only. The keypoints come from the pose vector
    through a `DCC`. No level has a layer in common with another.

    Args:
        in_channels: Channels of every feature map, all the same even number; provided by the neck.
        strides: Stride of every feature map; provided by the neck.
        shapes: Shape of every field; provided by the codec.
        input_size: (width, height) of the input in px; provided by the codec.
        pose_channels: Channels of the pose branch. RTMO-s: 144, m: 216, l: 288.
        pose_vec_channels: Length of the pose vector; by default the channels of a feature map.
        dcc: Settings of the `DCC`, such as `dict(feat_channels=128, num_bins=(192, 256))`.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: The feature maps differ in channels, or have an odd number of them.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes', 'input_size')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        input_size: Size,
        pose_channels: int = 144,
        pose_vec_channels: int | None = None,
        dcc: Mapping[str, Any] | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.in_channels, self.strides, self.shapes = tuple(in_channels), tuple(strides), dict(shapes)
        num_keypoints, channels, num_levels = shapes['keypoints'][0], in_channels[0], len(in_channels)
        if channels % 2 or set(in_channels) != {channels}:
            raise MismatchError(
                f'RTMOHead needs feature maps of one even number of channels; these have {tuple(in_channels)}. Set '
                f'model.neck to HybridEncoder, whose feature maps have the same channels'
            )
        pose_vec_channels = pose_vec_channels or channels
        self.score_channels = channels // 2
        self.score_towers = build_towers(num_levels, self.score_channels, layers)
        self.pose_towers = nn.ModuleList(
            _build_pose_tower(self.score_channels, pose_channels, layers) for _ in range(num_levels)
        )
        init_convolutions(self)
        configure_batch_norms(self, **YOLOX_NORM_CONSTANTS)
        # Behind `init_convolutions`, which would undo the bias of the score.
        self.scores = build_output_convs(num_levels, self.score_channels, dict(score=1))
        output_channels = dict(raw=4, proxy=2 * num_keypoints, visible=num_keypoints, vector=pose_vec_channels)
        self.poses = build_output_convs(num_levels, pose_channels, output_channels)
        self.dcc = DCC(num_keypoints, pose_vec_channels, input_size, **(dcc or {}))

    def forward(self, features: Sequence[Tensor]) -> list[OneStageFields]:
        points, strides = build_grid_points([f.shape[2:] for f in features], self.strides, features[0])
        # The first half of the channels leads to the score, the second to everything else.
        halves = [f.split([self.score_channels, f.shape[1] - self.score_channels], dim=1) for f in features]
        score_features = [tower(half) for tower, (half, _) in zip(self.score_towers, halves, strict=True)]
        pose_features = [tower(half) for tower, (_, half) in zip(self.pose_towers, halves, strict=True)]
        # Proxies serve the assignment and a loss, both in training.
        names = [name for name in self.poses if self.training or name != 'proxy']
        fields = {name: predict_levels(self.poses[name], pose_features) for name in names}
        # One class, hence (B, A) without the last dimension.
        fields['score'] = predict_levels(self.scores['score'], score_features)[..., 0]
        fields['box'] = decode_boxes(fields['raw'], points, strides)
        if 'proxy' in fields:
            fields['proxy'] = decode_offsets(fields['proxy'], points, strides)
        return [{**fields, 'points': points, 'strides': strides}]

    def predict_distributions(self, instances: Mapping[str, Tensor]) -> KeypointDistributions:
        """Predict the distributions of the keypoints of selected cells.

        No gradient passes to their boxes: the classification of keypoints does not train the boxes.

        Args:
            instances: The fields of N cells, each (N, ...).

        Returns:
            The distributions.
        """
        return self.dcc(instances['vector'], instances['box'].detach(), instances['points'])

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of proxies and visibility, and those of the keypoints' tokens and scatter in the `DCC`."""
        # With the statistics of the batch norm, but not its count of batches, which has no axis.
        tokens = {name: tensor for name, tensor in self.dcc.to_tokens.state_dict().items() if tensor.ndim}
        numbers_per_keypoint = len(tokens['0.bias']) // self.dcc.num_keypoints
        names = [name for name, _ in self.dcc.named_parameters() if name.startswith(('code', 'to_spread'))]
        return [
            *list_output_axes('poses', self.poses),
            *(FieldAxis(f'dcc.to_tokens.{name}', 0, ('keypoints',), repeats=numbers_per_keypoint) for name in tokens),
            *(FieldAxis(f'dcc.{name}', 0, ('keypoints',)) for name in names),
        ]

    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        return self.predict_distributions(instances).expected_keypoints()

    def predict_keypoint_sigmas(self, instances: Mapping[str, Tensor]) -> Tensor:
        """Predict the scale of the keypoints' errors (N, K), input px: a fraction of the root of the box's area."""
        width, height = (instances['box'][:, 2:] - instances['box'][:, :2]).float().unbind(dim=1)
        return self.dcc.predict_relative_sigmas(instances['vector']) * (width * height).sqrt()[:, None]


def _build_pose_tower(in_channels: int, channels: int, layers: LayerBuilder) -> nn.Sequential:
    """A 3x3 convolution and three grouped ones."""
    grouped = (conv_bn_act(channels, channels, 3, groups=_NUM_GROUPS, layers=layers) for _ in range(3))
    return nn.Sequential(conv_bn_act(in_channels, channels, 3, layers=layers), *grouped)
