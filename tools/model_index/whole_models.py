"""Settings of MMPose's models whose parts are translated together: pyramids, CPM, hourglass, YOLOX-Pose, RTMW, DEKR.

What is read is checked later: every weight of the published model must be one of the model here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Settings = dict[str, Any]
_KERNEL_SIZES = (15, 11, 9, 7, 5)  # cells, of MSPN's and RSN's targets
_STRIDE = 4
_TINY = 0.375  # YOLOX-tiny's factor on channels
_BATCH_NORM = dict(type='BN')


def _add_prefix(parts: Mapping[str, Settings]) -> Settings:
    return {f'model.{part}.{key}': value for part, spec in parts.items() for key, value in spec.items()}


def _top_down(**parts: Settings) -> Settings:
    return {'model.type': 'TopDown', 'model.flip_test': True, **_add_prefix(parts)}


def _msra_codec(codec: Mapping[str, Any]) -> Settings:
    size, stride = tuple(codec['input_size']), round(codec['input_size'][0] / codec['heatmap_size'][0])
    settings = dict(type='MSRAHeatmap', input_size=size, sigma_px=float(codec['sigma'] * stride))
    return settings if stride == _STRIDE else settings | dict(stride=stride)


def _translate_pyramid(parts: Mapping[str, Any], codec: Sequence[Mapping[str, Any]]) -> tuple[str, Settings]:
    backbone = parts['backbone']
    num_stages, name = backbone['num_stages'], backbone['type']
    codec_settings = dict(
        type='CPNHeatmap',
        input_size=tuple(codec[0]['input_size']),
        kernel_sizes=_KERNEL_SIZES[:-1] * (num_stages - 1) + _KERNEL_SIZES[1:],
        refined_stage=False,
        refine='quarter',
        smoothing_kernel_size=parts['head']['decoder']['kernel_size'],
    )
    backbone_settings = dict(type=name)
    if name == 'MSPN' or num_stages > 1:
        backbone_settings['num_stages'] = num_stages
    if name == 'RSN' and backbone['num_blocks'] != [3, 4, 6, 3]:
        backbone_settings['num_blocks'] = tuple(backbone['num_blocks'])
    settings = _top_down(codec=codec_settings, backbone=backbone_settings, head=dict(type='MSPNHead'))
    return name.lower(), settings


def _translate_cpm_head(parts: Mapping[str, Any], codec: Mapping[str, Any]) -> tuple[str, Settings]:
    """This head is that of MMPose's CPM and of its hourglass."""
    codec_settings = _msra_codec(codec)
    if parts['backbone']['type'] == 'HourglassNet':
        backbone, head = dict(type='CornerHourglass'), dict(type='HeatmapHead')
        return 'corner_hourglass', _top_down(codec=codec_settings, backbone=backbone, head=head)
    head = dict(
        type='CPMHead',
        first_layers=((5, 32), (9, 512), (1, 512)),
        heatmaps_first=True,
        center_map='none',
        norm_cfg=_BATCH_NORM,
    )
    backbone = dict(type='CPMTrunk', norm_cfg=_BATCH_NORM, center_pooling=True)
    return 'cpm', _top_down(codec=codec_settings, backbone=backbone, head=head)


def _translate_yoloxpose(parts: Mapping[str, Any], codec: Mapping[str, Any]) -> tuple[str, Settings]:
    backbone, neck = parts['backbone'], parts['neck']
    channels, num_blocks = neck['out_channels'], neck['num_csp_blocks']
    factors = {key: float(backbone[key]) for key in ('widen_factor', 'deepen_factor')}
    head = dict(project_inputs=False, pose_depth=4, has_objectness=True, cell_offset=0.0, feat_channels=channels)
    neck_settings = dict(type='YOLOXPAFPN', out_channels=channels)
    if num_blocks > 1:
        neck_settings['num_csp_blocks'] = num_blocks
    # The codec of the tiny one has another size than its pipelines, in which it is trained and tested.
    size = (416, 416) if factors['widen_factor'] == _TINY else tuple(codec['input_size'])
    specs = dict(
        codec=dict(type='DenseInstances', input_size=size, score_threshold=0.01),
        backbone=dict(type='CSPDarknet', **factors),
        neck=neck_settings,
        head=dict(type='YOLOXPoseHead', **head),
    )
    return 'yoloxpose', {'model.type': 'OneStage', **_add_prefix(specs)}


def _translate_rtmw(parts: Mapping[str, Any], codec: Mapping[str, Any]) -> tuple[str, Settings]:
    backbone = {key: float(parts['backbone'][key]) for key in ('widen_factor', 'deepen_factor')}
    size, sigma = tuple(codec['input_size']), tuple(codec['sigma'])
    settings = _top_down(
        codec=dict(type='SimCC', input_size=size, sigma=sigma, normalize=False),
        backbone=dict(type='CSPNeXt', out_strides=(8, 16, 32), **backbone),
        neck=dict(type='CSPNeXtPAFPN', num_outputs=2),
        head=dict(type='RTMWHead'),
    )
    return 'rtmw', settings


def _translate_dekr(parts: Mapping[str, Any], codec: Mapping[str, Any] | None) -> tuple[str, Settings]:
    width = parts['backbone']['extra']['stage2']['num_channels'][0]
    head = dict(type='DEKRHead')
    if 'num_heatmap_filters' in parts['head']:
        head['heatmap_channels'] = parts['head']['num_heatmap_filters']
    specs = dict(
        codec=dict(type='CenterDisplacement', input_size=tuple(parts['head']['decoder']['input_size'])),
        backbone=dict(type='HRNet', width=width, out_strides=(4, 8, 16, 32)),
        head=head,
    )
    return 'dekr', {'model.type': 'BottomUp', 'model.flip_test': True, **_add_prefix(specs)}


# MMPose's head -> what returns the folder of the configs, and the settings by dotted keys.
WHOLE_MODELS: dict[str, Callable[[Any, Any], tuple[str, Settings]]] = {
    'MSPNHead': _translate_pyramid,
    'CPMHead': _translate_cpm_head,
    'YOLOXPoseHead': _translate_yoloxpose,
    'RTMWHead': _translate_rtmw,
    'DEKRHead': _translate_dekr,
}
# Of Swin: channels of the first stage -> settings that differ from the defaults.
_SWIN = {
    96: {},
    128: dict(embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.3),
    192: dict(embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), drop_path_rate=0.5),
}


def translate_swin(spec: Mapping[str, Any]) -> Settings:
    """Settings of Swin, by its width."""
    window = {} if spec['window_size'] == 7 else dict(window_size=spec['window_size'])
    return dict(type='SwinTransformer', out_strides=(32,), **_SWIN[spec['embed_dims']], **window)


def translate_hrformer(spec: Mapping[str, Any]) -> Settings:
    """Settings of HRFormer, by its width."""
    width = spec['extra']['stage2']['num_channels'][0]
    base = dict(width=78, num_heads=2, drop_path_rate=0.2)
    return dict(type='HRFormer', **(base if width == 78 else {}))


def translate_pvt(spec: Mapping[str, Any]) -> Settings:
    """Settings of PVT-small and of PVT v2 B2, the sizes that are published."""
    return dict(type=spec['type'].removeprefix('mmdet.'), out_strides=(32,))
