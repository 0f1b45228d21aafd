"""What parts of a config receive from one another."""

import pytest

from poseplug.config.build import build_model, get_crop_rule
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.registry import TRANSFORMS


@pytest.mark.parametrize(
    ('options', 'rule'),
    [
        ({}, 'pixels'),
        ({'model.codec.match': 'mmpose'}, 'released_hrnet'),
        ({'model.codec.type': 'UDPHeatmap'}, 'corners'),
        ({'model.codec.type': 'UDPHeatmap', 'model.codec.match': 'mmpose'}, 'released_udp'),
        ({'model.codec.type': 'DARKHeatmap'}, 'pixels'),
        (
            {'model.codec.type': 'DARKHeatmap', 'model.codec.aligned': True, 'model.codec.match': 'official'},
            'released_dark',
        ),
    ],
)
def test_the_codec_says_how_a_box_meets_the_input(options, rule):
    assert get_crop_rule(load_config('hrnet_w32_coco_256x192', options)) == rule


def test_a_pipeline_cannot_contradict_the_codec():
    with pytest.raises(MismatchError, match="CropBox is given crop_rule='corners' in the config"):
        TRANSFORMS.build(dict(type='CropBox', crop_rule='corners'), input_size=(32, 48), crop_rule='pixels')


@pytest.mark.parametrize('value', [None, 'cpm_lsp_lite', 3])
def test_what_is_no_config_is_refused_by_its_type(value):
    with pytest.raises(ConfigError, match=f'a config is a dict of settings, .* got {type(value).__name__}'):
        build_model(value)
