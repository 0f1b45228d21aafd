"""How MMPose names the weights of path-aggregation necks, and of the heads behind them: YOLOX-Pose and RTMW."""

from __future__ import annotations

__all__ = ['PAFPN_RULES', 'RTMW_RULES', 'YOLOX_POSE_RULES']

PAFPN_RULES: tuple[tuple[str, str], ...] = (
    (r'neck\.reduce_layers\.(.+)', r'neck.laterals.\1'),
    (r'neck\.top_down_blocks\.(.+)', r'neck.down_fusions.\1'),
    (r'neck\.downsamples\.(.+)', r'neck.halvings.\1'),
    (r'neck\.bottom_up_blocks\.(.+)', r'neck.up_fusions.\1'),
    (r'neck\.out_convs\.(.+)', r'neck.outputs.\1'),
)

YOLOX_POSE_RULES: tuple[tuple[str, str], ...] = (
    *PAFPN_RULES,
    (r'head\.head_module\.conv_cls\.(.+)', r'head.towers.score.\1'),
    (r'head\.head_module\.conv_reg\.(.+)', r'head.towers.box.\1'),
    (r'head\.head_module\.conv_pose\.(.+)', r'head.towers.joints.\1'),
    (r'head\.head_module\.out_cls\.(.+)', r'head.outputs.score.\1'),
    (r'head\.head_module\.out_obj\.(.+)', r'head.outputs.objectness.\1'),
    (r'head\.head_module\.out_bbox\.(.+)', r'head.outputs.raw.\1'),
    (r'head\.head_module\.out_kpt\.(.+)', r'head.outputs.proxy.\1'),
    (r'head\.head_module\.out_kpt_vis\.(.+)', r'head.outputs.visible.\1'),
)

RTMW_RULES: tuple[tuple[str, str], ...] = (
    *PAFPN_RULES,
    (r'head\.conv_dec\.(.+)', r'head.shuffle.\1'),
    # MMPose counts from the coarse map, here the fine one is first.
    (r'head\.final_layer2\.(.+)', r'head.maps.0.\1'),
    (r'head\.final_layer\.(.+)', r'head.maps.1.\1'),
    (r'head\.mlp2\.(.+)', r'head.tokens.0.\1'),
    (r'head\.mlp\.(.+)', r'head.tokens.1.\1'),
    (r'head\.cls_([xy])\.(.+)', r'head.bins.\1.\2'),
    (r'head\.gau\.res_scale\.scale', r'head.attention.shortcut'),
    (r'head\.gau\.(.+)', r'head.attention.\1'),
)
