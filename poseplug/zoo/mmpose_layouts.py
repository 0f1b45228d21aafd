"""The layouts of weight files that other projects publish: how each names its tensors, and what they are here."""

from __future__ import annotations

__all__ = ['CHECKPOINT_LAYOUTS', 'IGNORED_NAMES', 'CheckpointLayout', 'RenameRules', 'detect_layout']

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError
from poseplug.zoo.bottom_up_names import DEKR_IGNORED_NAMES, DEKR_RULES
from poseplug.zoo.mmpose_conv_rules import CONV_BACKBONE_RULES, REGRESSION_HEAD_RULES
from poseplug.zoo.multi_stage_names import CORNER_HOURGLASS_RULES, MMPOSE_CPM_RULES, MSPN_RULES
from poseplug.zoo.pyramid_names import RTMW_RULES, YOLOX_POSE_RULES
from poseplug.zoo.transformer_names import (
    HRFORMER_RULES,
    PVT_RULES,
    PVT_V2_RULES,
    SWIN_RULES,
    TRANSFORMER_IGNORED_NAMES,
)
from poseplug.zoo.transformers_export import TRANSFORMERS_RULES

RenameRules = tuple[tuple[str, str], ...]  # (pattern of a whole name, replacement); the first match counts

_HEATMAP_HEAD_RULES: RenameRules = (
    (r'(?:keypoint_)?head\.deconv_layers\.(.+)', r'head.deconvs.\1'),
    (r'(?:keypoint_)?head\.final_layer\.(weight|bias)', r'head.predict.heatmap.\1'),
    # A convolution, its norm and its activation each have a number.
    *((rf'head\.conv_layers\.{3 * i + j}\.(.+)', rf'head.hidden.{i}.{j}.\1') for i in range(4) for j in range(2)),
)
_SIMCC_HEAD_RULES: RenameRules = (
    (r'head\.(?:deconv_head\.)?deconv_layers\.(.+)', r'head.deconvs.\1'),
    (r'head\.(?:deconv_head\.)?final_layer\.(weight|bias)', r'head.maps.\1'),
    (r'head\.(?:mlp_head|cls)_([xy])\.(.+)', r'head.bins.\1.\2'),
    (r'head\.mlp\.(.+)', r'head.tokens.\1'),
    (r'head\.gau\.res_scale\.scale', r'head.attention.shortcut'),
    (r'head\.gau\.(.+)', r'head.attention.\1'),
)
# The last rule leaves names as they are: most backbones here have the published ones.
_BACKBONE_RULES: RenameRules = (*CONV_BACKBONE_RULES, (r'(backbone\..+)', r'\1'))
# mmcv's feed-forward network is a list of (linear layer, activation, dropout) and a linear layer: 0.0 and 1.
_RTMO_RULES: RenameRules = (
    (r'neck\.input_proj\.(.+)', r'neck.inputs.\1'),
    (r'neck\.encoder\.0\.layers\.0\.self_attn\.attn\.(.+)', r'neck.encoder.attention.\1'),
    (r'neck\.encoder\.0\.layers\.0\.ffn\.layers\.0\.0\.(.+)', r'neck.encoder.layer1.\1'),
    (r'neck\.encoder\.0\.layers\.0\.ffn\.layers\.1\.(.+)', r'neck.encoder.layer2.\1'),
    (r'neck\.encoder\.0\.layers\.0\.norms\.0\.(.+)', r'neck.encoder.norm1.\1'),
    (r'neck\.encoder\.0\.layers\.0\.norms\.1\.(.+)', r'neck.encoder.norm2.\1'),
    (r'neck\.lateral_convs\.(.+)', r'neck.laterals.\1'),
    (r'neck\.fpn_blocks\.(.+)', r'neck.down_fusions.\1'),
    (r'neck\.downsample_convs\.(.+)', r'neck.halvings.\1'),
    (r'neck\.pan_blocks\.(.+)', r'neck.up_fusions.\1'),
    (r'neck\.projector\.convs\.(.+)', r'neck.outputs.\1'),
    (r'head\.head_module\.conv_cls\.(.+)', r'head.score_towers.\1'),
    (r'head\.head_module\.conv_pose\.(.+)', r'head.pose_towers.\1'),
    (r'head\.head_module\.out_cls\.(.+)', r'head.scores.score.\1'),
    (r'head\.head_module\.out_bbox\.(.+)', r'head.poses.raw.\1'),
    (r'head\.head_module\.out_kpt_reg\.(.+)', r'head.poses.proxy.\1'),
    (r'head\.head_module\.out_kpt_vis\.(.+)', r'head.poses.visible.\1'),
    (r'head\.head_module\.out_pose\.(.+)', r'head.poses.vector.\1'),
    (r'head\.dcc\.pos_enc', 'head.dcc.code'),
    (r'head\.dcc\.gau\.res_scale\.scale', 'head.dcc.attention.shortcut'),
    (r'head\.dcc\.gau\.(.+)', r'head.dcc.attention.\1'),
    (r'head\.dcc\.pose_to_kpts\.(.+)', r'head.dcc.to_tokens.\1'),
    (r'head\.dcc\.([xy])_fc\.(.+)', r'head.dcc.\1_code.\2'),
    (r'head\.dcc\.sigma_fc\.0\.(.+)', r'head.dcc.to_spread.\1'),
    (r'head\.dcc\.sigma_fc\.2\.scale', 'head.dcc.spread_scale'),
)


def _list_cpm_rules(num_stages: int = 6) -> RenameRules:
    """The names of CPM implementations in PyTorch: conv1_stage1 ... conv7_stage1, Mconv1_stage2 ... Mconv5_stage6."""
    # Convolutions have even numbers in our trunks, poolings odd ones.
    rules = [(rf'conv{i + 1}_stage1\.(.+)', rf'backbone.trunks.0.{2 * i}.0.\1') for i in range(3)]
    rules += [(rf'conv{i + 4}_stage1\.(.+)', rf'head.first.{i}.0.\1') for i in range(3)]
    rules += [(rf'conv{i + 1}_stage2\.(.+)', rf'backbone.trunks.1.{2 * i}.0.\1') for i in range(3)]
    rules += [(r'conv7_stage1\.(.+)', r'head.predict.0.\1'), (r'conv4_stage2\.(.+)', r'head.images.0.0.0.\1')]
    for t in range(num_stages - 1):
        rules.append((rf'conv1_stage{t + 2}\.(.+)', rf'head.images.{t}.0.0.\1'))
        rules += [(rf'Mconv{i + 1}_stage{t + 2}\.(.+)', rf'head.contexts.{t}.{i}.0.\1') for i in range(4)]
        rules.append((rf'Mconv5_stage{t + 2}\.(.+)', rf'head.predict.{t + 1}.\1'))
    return tuple(rules)


@dataclass(frozen=True)
class CheckpointLayout:
    """The names of weights in one kind of file.

    Attributes:
        name: what the files are, for messages.
        name_pattern: regular expression that is found in a name of such a file, and of no layout listed before.
        rules: (pattern of a whole name, name of the model); the first match counts.
        match: whose crops, read-outs and scores the weights were trained for: the value of the codec's setting, or ''
            if there are no such differences.
    """

    name: str
    name_pattern: str
    rules: RenameRules
    match: str = 'mmpose'


# From the most special to the most general: the first pattern that is found decides.
CHECKPOINT_LAYOUTS = (
    CheckpointLayout(
        "MMPose 1.x's ViT",
        r'^backbone\.layers\.\d+\.ffn\.',
        (
            (r'backbone\.pos_embed', r'backbone.pos_embed'),
            (r'backbone\.patch_embed\.projection\.(.+)', r'backbone.patch_embed.proj.\1'),
            (r'backbone\.layers\.(\d+)\.ln([12])\.(.+)', r'backbone.blocks.\1.norm\2.\3'),
            (r'backbone\.layers\.(\d+)\.attn\.(.+)', r'backbone.blocks.\1.attn.\2'),
            (r'backbone\.layers\.(\d+)\.ffn\.layers\.0\.0\.(.+)', r'backbone.blocks.\1.mlp.fc1.\2'),
            (r'backbone\.layers\.(\d+)\.ffn\.layers\.1\.(.+)', r'backbone.blocks.\1.mlp.fc2.\2'),
            (r'backbone\.ln1\.(.+)', r'backbone.norm.\1'),
            *_HEATMAP_HEAD_RULES,
        ),
    ),
    CheckpointLayout(
        'the official ViTPose',
        r'^backbone\.blocks\.\d+\.mlp\.',
        ((r'backbone\.last_norm\.(.+)', r'backbone.norm.\1'), *_BACKBONE_RULES, *_HEATMAP_HEAD_RULES),
    ),
    CheckpointLayout(
        "transformers' VitPose", r'^backbone\.encoder\.layer\.\d+\.attention\.attention\.', TRANSFORMERS_RULES
    ),
    CheckpointLayout("MMPose's MSPN or RSN", r'^backbone\.multi_stage_(mspn|rsn)\.', MSPN_RULES),
    CheckpointLayout("MMPose's CPM", r'^backbone\.cpm_stages\.', MMPOSE_CPM_RULES),
    CheckpointLayout("MMPose's hourglass", r'^backbone\.hourglass_modules\.', CORNER_HOURGLASS_RULES),
    CheckpointLayout(
        "MMPose's Swin", r'^backbone\.stages\.\d+\.blocks\.\d+\.attn\.w_msa\.', (*SWIN_RULES, *_HEATMAP_HEAD_RULES)
    ),
    CheckpointLayout(
        "MMPose's HRFormer",
        r'^backbone\.stage\d\.\d\.branches\.\d\.\d\.attn\.',
        (*HRFORMER_RULES, *_BACKBONE_RULES, *_HEATMAP_HEAD_RULES),
    ),
    CheckpointLayout("MMPose's PVT", r'^backbone\.layers\.0\.1\.0\.pos_embed', (*PVT_RULES, *_HEATMAP_HEAD_RULES)),
    CheckpointLayout(
        "MMPose's PVT v2", r'^backbone\.layers\.0\.1\.0\.attn\.attn\.', (*PVT_V2_RULES, *_HEATMAP_HEAD_RULES)
    ),
    CheckpointLayout("MMPose's DEKR", r'^head\.displacement_conv_layers\.', (*_BACKBONE_RULES, *DEKR_RULES)),
    CheckpointLayout("MMPose's RTMO", r'^head\.dcc\.', (*_BACKBONE_RULES, *_RTMO_RULES)),
    CheckpointLayout("MMPose's RTMW", r'^head\.conv_dec\.', (*_BACKBONE_RULES, *RTMW_RULES)),
    CheckpointLayout("MMPose's YOLOX-Pose", r'^head\.head_module\.out_obj\.', (*_BACKBONE_RULES, *YOLOX_POSE_RULES)),
    CheckpointLayout("MMPose's SimCC or RTMPose", r'^head\.(mlp_head|cls)_x\.', (*_BACKBONE_RULES, *_SIMCC_HEAD_RULES)),
    CheckpointLayout(
        "MMPose's ResNet, HRNet or CSPNeXt",
        r'^backbone\.(conv1|stem\.0\.conv)\.weight$',
        (*_BACKBONE_RULES, *_HEATMAP_HEAD_RULES, *REGRESSION_HEAD_RULES),
    ),
    CheckpointLayout(
        "MMPose's MobileNet, ShuffleNet, Lite-HRNet, ViPNAS or VGG",
        r'^backbone\.(conv1\.conv|stem\.conv1\.conv|features\.0\.conv)\.weight$',
        (*_BACKBONE_RULES, *_HEATMAP_HEAD_RULES, *REGRESSION_HEAD_RULES),
    ),
    CheckpointLayout(
        'the official HRNet or SimpleBaseline',
        r'^conv1\.weight$',
        (
            (r'deconv_layers\.(.+)', r'head.deconvs.\1'),
            (r'final_layer\.(weight|bias)', r'head.predict.heatmap.\1'),
            # The official files have no prefix for the backbone.
            (r'((?:conv|bn|layer|transition|stage)\d\..+)', r'backbone.\1'),
        ),
        'official',
    ),
    CheckpointLayout('a CPM in PyTorch', r'^Mconv1_stage2\.', _list_cpm_rules(), ''),
)
_UNSUPPORTED_NETWORKS = (
    ('ViTPose+ with its experts', r'^(backbone\.blocks\.\d+\.mlp\.experts|associate_keypoint_heads)\.'),
)
IGNORED_NAMES: RenameRules = (
    (r'backbone\.inters\..+', 'joins two hourglasses; a single one has no use for it'),
    (r'data_preprocessor\..+', "images are normalized by the config's model.input_norm"),
    (r'neck\.sincos_pos_enc\.dim_t|head\.dcc\.(spe\.dim_t|[xy]_bins)', 'computed from the settings'),
    *DEKR_IGNORED_NAMES,
    *TRANSFORMER_IGNORED_NAMES,
    (r'backbone\.layer\d\.\d+\.attention\.conv_mask\.bias', 'a softmax does not depend on it'),
    # What `fold_conv_biases` does with them.
    (r'(backbone\.features\.\d+\.conv|head\.conv_layers\.\d+)\.bias', 'subtracted from the mean of the norm behind it'),
    (r'head\.simplebaseline_head\.final_layer\.bias', 'a softmax does not depend on it'),
    (r'head\.linspace_[xy]', 'computed from the settings'),
    (r'head\.loss_module\.flow_model\.(loc|cov|mask)', 'constants of a normal distribution and its masks'),
    (r'head\.loss_module\.flow_model\.[st]\..+', 'only a model with RLELoss has a flow'),
    (r'head\.loss_oks\.sigmas', 'defined by the skeleton'),
    (r'ema_[^.]+', 'the other copy of the weights that mmcv 1 keeps while it averages'),
)


def _any_name_matches(names: Iterable[str], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in names)


def detect_layout(names: Mapping[str, Any], source: Path | str = 'the file') -> CheckpointLayout:
    """Detect the layout of a file from its names.

    Args:
        names: weights by name.
        source: the file, for messages.

    Raises:
        CheckpointError: the layout is unknown, or the file is of a network that poseplug does not have.
    """
    for network, pattern in _UNSUPPORTED_NETWORKS:
        if _any_name_matches(names, pattern):
            raise CheckpointError(f'{source} is of {network}, whose names are not mapped yet')
    for layout in CHECKPOINT_LAYOUTS:
        if _any_name_matches(names, layout.name_pattern):
            return layout
    first_names = ', '.join([*names][:3]) or 'none'
    known = '; '.join(layout.name for layout in CHECKPOINT_LAYOUTS)
    raise CheckpointError(f'{source} has names (first: {first_names}) of no known kind; known: {known}')
