"""Settings of registered parts are checked by range when a part is built, and the message names the setting."""

import inspect
import math
from collections.abc import Sequence

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.models.layers.input_norm import InputNorm
from poseplug.predict.detector_input import DetectorInput
from poseplug.registry import CODECS, METRICS, MODELS, TRANSFORMS
from poseplug.registry.part_registry import qualified_name
from poseplug.registry.wiring import inspect_parameters
from poseplug.testing import SMALL_SKELETON

# What parts need beside their defaults
REQUIRED = {
    'TransformBySource': dict(transforms=dict(test=dict(type='LetterboxImage'))),
    'MultiScaleCrop': dict(scales=(1.0, 0.5)),
    'PipelineSwitch': dict(switch_epoch=1, first_transforms=[dict(type='RandomShift')]),
    'AUC': dict(normalizer='box'),
    'NME': dict(normalizer='box_diagonal'),
    'OKSLoss': dict(sigmas=(0.1, 0.2, 0.3)),
    'SimOTA': dict(sigmas=(0.1, 0.2, 0.3)),
    'UDPCombined': dict(radius_factor=0.1),
    'OnSkeleton': dict(target_skeleton=SMALL_SKELETON, metric=dict(type='PCK')),
    'PCKh': dict(head_size='keypoints'),
    'WholeBodyAP': dict(parts=dict(body=SMALL_SKELETON.keypoints)),
}
PROVIDED = {
    'transform': dict(input_size=(64, 64)),
    'codec': dict(skeleton=SMALL_SKELETON),
    'metric': dict(skeleton=SMALL_SKELETON),
    'model': {},
}
UNLIMITED = {'num_keypoints_half_body', 'max_holes', 'switch_epoch', 'size_divisor'}  # without a largest value


def list_numeric_settings(registry, package=''):
    """(part, setting, a value that is allowed) of every built-in part."""
    for part_name in registry.list_names():
        part = registry.get(part_name)
        if not qualified_name(part).startswith(f'poseplug.{package}'):
            continue
        for name, parameter in inspect_parameters(part)[0].items():
            default = REQUIRED.get(part_name, {}).get(name, parameter.default)
            values = default if isinstance(default, Sequence) and not isinstance(default, str) else [default]
            if default is not inspect.Parameter.empty and all(type(v) in (int, float) for v in values) and values:
                yield registry, part_name, name, default


def describe_case(case):
    return f'{case[1]}.{case[2]}'


SETTINGS = [
    *list_numeric_settings(TRANSFORMS),
    *list_numeric_settings(CODECS),
    *list_numeric_settings(METRICS),
    *list_numeric_settings(MODELS, 'models.losses'),
    *list_numeric_settings(MODELS, 'models.assigners'),
]


def build_with(registry, part_name, **settings):
    provided = PROVIDED[registry.name]
    if registry is CODECS:  # a setting of some codecs, a value of other parts for none
        settings = {'input_size': (192, 192), **settings}
    return registry.build({'type': part_name, **REQUIRED.get(part_name, {}), **settings}, **provided)


def replace_number(value, number):
    """The value with its first number replaced."""
    return (number, *value[1:]) if isinstance(value, Sequence) else number


@pytest.mark.parametrize(
    ('registry', 'part_name', 'setting', 'value'), SETTINGS, ids=list(map(describe_case, SETTINGS))
)
def test_a_number_out_of_range_is_refused_by_name(registry, part_name, setting, value):
    build_with(registry, part_name, **{setting: value})
    wrong = [math.nan, math.inf, 'x', True, -1e9]
    if registry is TRANSFORMS and setting not in UNLIMITED:
        wrong.append(1e9)
    for number in wrong:
        with pytest.raises(ConfigError, match=rf'^{part_name}: {setting} '):
            build_with(registry, part_name, **{setting: replace_number(value, number)})


@pytest.mark.parametrize(('registry', 'part_name', 'setting', 'value'), [
    (TRANSFORMS, 'RandomFlip', 'prob', 50),
    (TRANSFORMS, 'NormalScaleRotate', 'scale_factor', 1.5),
    (TRANSFORMS, 'NormalScaleRotate', 'scale_factor', 1.0),
    (TRANSFORMS, 'RandomScaleRotate', 'scale_factor', (-1.0, 1.0)),
    (TRANSFORMS, 'RandomScaleRotate', 'scale_factor', (1.3, 0.7)),
    (TRANSFORMS, 'RandomScaleRotate', 'scale_factor', (0.7, 1.0, 1.3)),
    (TRANSFORMS, 'CropBox', 'padding', 0.0),
    (TRANSFORMS, 'CropBox', 'padding', 125),
    (TRANSFORMS, 'LetterboxImage', 'fill_fraction', 80),
    (TRANSFORMS, 'RandomErase', 'fill', (0, 0, 256)),
    (TRANSFORMS, 'RandomErase', 'fill', (0.5, 0.5, 0.5)),
    (TRANSFORMS, 'RandomErase', 'hole_size_range', (20, 40)),
    (TRANSFORMS, 'RandomErase', 'max_holes', 1.5),
    (TRANSFORMS, 'RandomCut', 'cut_range', (5, 50)),
    (TRANSFORMS, 'RandomDownscale', 'factor_range', (0.5, 2.0)),
    (TRANSFORMS, 'PasteInstance', 'distance_range', (0.7, 0.2)),
    (TRANSFORMS, 'MultiScaleCrop', 'scales', ()),
    (TRANSFORMS, 'FitImage', 'max_side', 16),
    (TRANSFORMS, 'Warp', 'fill_color', 128),
    (TRANSFORMS, 'Mosaic', 'center_range', (1.0, 2.5)),
    (CODECS, 'Heatmap', 'min_value', 1.0),
    (CODECS, 'Heatmap', 'stride', 0.5),
    (CODECS, 'Heatmap', 'stride', 193),
    (METRICS, 'PCK', 'thresholds', (10, 20)),
    (METRICS, 'PCKh', 'max_threshold', 50),
    (METRICS, 'AUC', 'max_threshold', 30),
], ids=str)  # fmt: skip
def test_a_slip_of_units_or_order_is_refused_by_name(registry, part_name, setting, value):
    with pytest.raises(ConfigError, match=f'{part_name}: {setting} is .*; got '):
        build_with(registry, part_name, **{setting: value})


@pytest.mark.parametrize(('part', 'settings', 'message'), [
    ('MobileNetV2', dict(widen_factor=0), 'MobileNetV2: widen_factor is a positive number; got 0'),
    ('CSPNeXt', dict(deepen_factor=-1.0), 'CSPNeXt: deepen_factor is a positive number'),
    ('CSPDarknet', dict(widen_factor='m'), "CSPDarknet: widen_factor is a positive number; got 'm'"),
    ('ResNet', dict(depth=18, base_channels=-64), 'ResNet cannot be built with .*base_channels=-64: '),
    ('ResNet', dict(depth=18, groups=0), 'ResNet: groups is a whole number from 1 on; got 0'),
])  # fmt: skip
def test_a_backbone_of_impossible_numbers_is_refused_with_its_settings(part, settings, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build(dict(type=part, **settings))


@pytest.mark.parametrize(('mean', 'std', 'message'), [
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 'are those of pixels of 0 to 255; .*: multiply both by 255'),
    ((0.5, 0.5, 0.5), (58, 57, 57), 'multiply both by 255'),
    ((0, 0, 0), (0.5, 0.5, 0.5), 'multiply both by 255'),
    ((123.7, 116.3, 103.5), (58.4, 0.0, 57.4), 'std is one number above 0 per channel'),
    ((123.7, 116.3), (58.4, 57.1, 57.4), 'mean is one number per channel, 3 in all'),
    (123.7, (58.4, 57.1, 57.4), 'mean is one number per channel, 3 in all; got 123.7'),
    ((0, math.nan, 0), (1, 1, 1), 'mean is one number per channel'),
])  # fmt: skip
def test_a_normalization_of_pixels_of_0_to_1_is_refused(mean, std, message):
    with pytest.raises(ConfigError, match=f'^input_norm: .*{message}'):
        InputNorm(mean, std)
    with pytest.raises(ConfigError, match=f'^a detector: .*{message}'):
        DetectorInput(mean=mean, std=std)
    InputNorm((0, 0, 0), (1, 1, 1))  # raw pixels, as of YOLOX
    InputNorm((127.5,) * 3, (127.5,) * 3)


def test_numbers_of_numpy_are_numbers():
    build_with(TRANSFORMS, 'RandomFlip', prob=np.float32(0.5))
    build_with(TRANSFORMS, 'RandomErase', max_holes=np.int64(2), hole_size_range=np.array([0.1, 0.2]))


def test_a_message_has_the_range():
    with pytest.raises(ConfigError, match='NormalScaleRotate: scale_factor is a number from 0 to below 1; got 1.5'):
        build_with(TRANSFORMS, 'NormalScaleRotate', scale_factor=1.5)
    with pytest.raises(ConfigError, match='^NormalScaleRotate: scale_factor is a number from 0 to 2; got 2.5'):
        build_with(TRANSFORMS, 'NormalScaleRotate', scale_factor=2.5, log2_scale=True)
    with pytest.raises(ConfigError, match='RandomErase: max_holes is a whole number from 1 on; got 0'):
        build_with(TRANSFORMS, 'RandomErase', max_holes=0)
