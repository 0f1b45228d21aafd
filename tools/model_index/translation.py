"""Settings of MMPose's models as settings of poseplug, by dotted keys.

The parts are translated by `translated_parts`; a family is added there, and to `FOLDERS`. What is not understood is
refused: `NotTranslatedError` says why, and the model gets no entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmpose_models import PublishedModel
from translated_parts import BACKBONES, CODECS, HEADS, RESNET_VARIANTS, NotTranslatedError, Settings
from whole_models import WHOLE_MODELS


@dataclass(frozen=True)
class TranslatedModel:
    """The settings of a model.

    Attributes:
        folder: of the shipped configs that its entry may be based on.
        settings: by dotted keys; all that the parts codec, backbone, neck and head have.
    """

    folder: str
    settings: Settings


def translate_model(model: PublishedModel) -> TranslatedModel:
    """Translate the settings of a model, without its skeleton.

    Raises:
        NotTranslatedError: a part or a setting is not known here.
    """
    parts = model.settings['model']
    if not parts:
        raise NotTranslatedError('MMPose does not build it')
    backbone, head = parts['backbone'], parts['head']
    codec = model.settings['codec']
    # First the models whose parts only make sense together.
    if head['type'] == 'RTMOHead':
        return _translate_rtmo(parts)
    if head['type'] == 'AssociativeEmbeddingHead':
        width = backbone['extra']['stage2']['num_channels'][0]
        network = {'model.backbone.type': backbone['type'], 'model.backbone.width': width}
        return TranslatedModel('associative_embedding', {'model.type': 'BottomUp', **network})
    if head['type'] in WHOLE_MODELS:
        return TranslatedModel(*WHOLE_MODELS[head['type']](parts, codec))
    head_settings = _translate_part('head', HEADS, head)
    found = {
        'codec': _translate_part('codec', CODECS, codec),
        'backbone': _translate_part('backbone', BACKBONES, backbone),
        'neck': _translate_neck(parts.get('neck'), head_settings['type']),
        'head': head_settings,
    }
    # MMPose's codec is the same with and without scatter; here it says which fields there are.
    if head['type'] == 'RLEHead':
        found['codec']['type'] = 'RLERegression'
    # No shipped config, no entry: its pipeline and schedule would have to be invented.
    folder = FOLDERS.get((backbone['type'], head['type']))
    if folder is None:
        raise NotTranslatedError(f'no config of {backbone["type"]} with {head["type"]}')
    settings = {f'model.{part}.{key}': value for part, spec in found.items() for key, value in spec.items()}
    flip_test = model.settings['test_cfg'].get('flip_test', True)
    return TranslatedModel(folder, {'model.type': 'TopDown', 'model.flip_test': flip_test, **settings})


def _translate_part(kind: str, table: Mapping[str, Callable[[Any], Settings]], spec: Any) -> Settings:
    name = spec['type'] if isinstance(spec, Mapping) else type(spec).__name__
    if name not in table:
        raise NotTranslatedError(f'{kind} {name}')
    return table[name](spec)


def _translate_neck(spec: Mapping[str, Any] | None, head: str) -> Settings:
    """The settings of a neck; none for one that the head includes here."""
    if spec is None or spec['type'] == 'GlobalAveragePooling':
        return {}
    if spec == dict(type='FeatureMapProcessor', concat=True) and head == 'HeatmapHead':
        return dict(type='ConcatMaps')
    # MMPose returns all maps and selects one; the backbone here builds no other.
    selects_last = spec.get('select_index') == 3  # the only map that the backbone here returns
    if spec['type'] != 'FeatureMapProcessor' or not (selects_last or head == 'SimpleHead'):
        raise NotTranslatedError(f'neck {spec["type"]}')
    return {}


_SIMPLE_BACKBONES = ('MobileNetV2', 'ShuffleNetV1', 'ShuffleNetV2', 'VGG')
# Folder of the configs of a backbone and a head of MMPose.
FOLDERS = {
    ('HRNet', 'HeatmapHead'): 'hrnet',
    ('ResNet', 'HeatmapHead'): 'simple_baseline',
    ('ResNet', 'SimCCHead'): 'simcc',
    ('CSPNeXt', 'RTMCCHead'): 'rtmpose',
    ('CSPNeXt', 'HeatmapHead'): 'cspnext',
    ('mmpretrain.VisionTransformer', 'HeatmapHead'): 'vitpose',
    ('SwinTransformer', 'HeatmapHead'): 'swin',
    ('HRFormer', 'HeatmapHead'): 'hrformer',
    ('PyramidVisionTransformer', 'HeatmapHead'): 'pvt',
    ('PyramidVisionTransformerV2', 'HeatmapHead'): 'pvt',
    **{(name, 'HeatmapHead'): 'simple_baseline' for name in (*RESNET_VARIANTS, *_SIMPLE_BACKBONES)},
    ('LiteHRNet', 'HeatmapHead'): 'lite_hrnet',
    ('MobileNetV2', 'SimCCHead'): 'simcc',
    ('ViPNAS_MobileNetV3', 'SimCCHead'): 'simcc',
    ('ViPNAS_MobileNetV3', 'ViPNASHead'): 'vipnas',
    ('ViPNAS_ResNet', 'ViPNASHead'): 'vipnas',
    ('ResNet', 'DSNTHead'): 'regression',
    ('ResNet', 'RegressionHead'): 'regression',
    ('ResNet', 'RLEHead'): 'regression',
    ('MobileNetV2', 'RLEHead'): 'regression',
}

# --- one-stage models -------------------------------------------------------------------------------------------------


def _translate_rtmo(parts: Mapping[str, Any]) -> TranslatedModel:
    """RTMO: the size of the network says which of its configs is meant."""
    backbone, neck, module = parts['backbone'], parts['neck'], parts['head']['head_module_cfg']
    settings = {
        'model.type': 'OneStage',
        'model.codec.type': 'DenseInstances',
        'model.codec.input_size': tuple(parts['test_cfg']['input_size']),
        'model.backbone.type': 'CSPDarknet',
        'model.backbone.widen_factor': float(backbone['widen_factor']),
        'model.backbone.deepen_factor': float(backbone['deepen_factor']),
        'model.neck.type': 'HybridEncoder',
        'model.neck.widen_factor': float(neck['widen_factor']),
        'model.neck.deepen_factor': float(neck['deepen_factor']),
        'model.neck.out_channels': neck['projector']['out_channels'],
        'model.head.type': 'RTMOHead',
        # Eight groups, each of so many channels.
        'model.head.pose_channels': 8 * int(module['channels_per_group'] * module['widen_factor']),
    }
    return TranslatedModel('rtmo', settings)
