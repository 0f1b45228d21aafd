"""Settings of registered parts are checked by range when a part is built, and the message names the setting."""

import inspect
import math
from collections.abc import Sequence

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
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
