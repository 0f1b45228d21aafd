"""Poolings of CPM's trunk: equal layers, other strides."""

import csv

import pytest

from poseplug.analysis.pooling_study import build_pooling_claims, build_pooling_variants
from poseplug.analysis.study import StudySettings
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.receptive_field import compute_receptive_fields
from tests.conftest import ROOT, format_cli_options, tiny_options

CONFIG = ROOT / 'configs/cpm/cpm_lsp_368.py'
SMALL = {
    'model.backbone.channels': (4, 6, 8),
    'model.backbone.kernel_sizes': (3, 3, 3),
    'model.head.num_stages': 2,
    'model.head.first_layers': ((3, 8), (1, 8)),
    'model.head.image_layers': ((3, 8),),
    'model.head.context_layers': ((3, 8), (1, 8)),
    'model.codec.input_size': (64, 64),
}


def build_variants(strides, config=CONFIG, options=SMALL):
    return build_pooling_variants(StudySettings(config, ROOT, options=options), strides)


def test_a_convolution_without_its_pooling_runs_behind_the_trunk():
    variants = {variant.name: variant.options for variant in build_variants([2, 8, 16])}
    assert variants['stride 8'] | SMALL == SMALL | {'model.codec.stride': 8}
    fine, coarse = variants['stride 2'], variants['stride 16']
    assert (fine['model.backbone.channels'], fine['model.head.first_layers']) == (
        (4,),
        ((3, 6), (3, 8), (3, 8), (1, 8)),
    )
    assert fine['model.head.image_layers'] == ((3, 6), (3, 8), (3, 8))
    assert coarse['model.backbone.channels'] == (4, 6, 8, 8)


def test_fewer_poolings_of_the_same_layers_see_less():
    """Stage 1 by hand, conv 3 at strides 1, 2, 4 and pool 3 behind each, then conv 3 and 1: 31 px at stride 8."""
    fields = {}
    for variant in build_variants([4, 8]):
        model = build_model(load_config(CONFIG, {**SMALL, **variant.options}))
        assert model.codec.stride == max(model.network.backbone.strides)
        fields[variant.name] = compute_receptive_fields(model).head[0]
    trunk = 3 + 2 + 2 * 2 + 2 * 2 + 2 * 4
    assert fields == {'stride 8': trunk + 2 * 4 + 2 * 8, 'stride 4': trunk + 2 * 4}


def test_the_published_defaults_are_those_of_the_parts():
    fine, published = build_variants([4, 8], options={})
    assert published.options['model.backbone.channels'] == (128, 128, 128)
    assert fine.options['model.head.first_layers'][0] == (9, 128)
    assert fine.options['model.codec.stride'] == 4


def test_each_stride_is_compared_with_the_one_before():
    claims = build_pooling_claims(['stride 4', 'stride 8'], 2.0)
    assert [(claim.variant, claim.baseline, claim.low, claim.high) for claim in claims] == [
        ('stride 4', 'stride 8', 0.0, float('inf')),
        ('stride 8', 'stride 4', -2.0, 2.0),
    ]


@pytest.mark.parametrize(
    ('strides', 'config', 'message'),
    [
        ([4, 6], CONFIG, r'strides are powers of 2 from 2 on, such as 4,8,16; got \[4, 6\]'),
        ([4], ROOT / 'configs/cpm/cpm_lsp_lite.py', 'model.backbone of .* is CPMVGGTrunk. Compare others by'),
    ],
)
def test_other_strides_and_other_networks_are_errors(strides, config, message):
    with pytest.raises(ConfigError, match=message):
        build_variants(strides, config, {})


def test_the_command_trains_each_stride(command, tiny_data, tmp_path):
    data = {key: value for key, value in tiny_options(tiny_data).items() if 'dataset' in key or 'workers' in key}
    options = {**data, **SMALL, 'param_scheduler': None, 'custom_hooks': None, 'train_dataloader.batch_size': 4}
    arguments = [CONFIG, '--strides', '8,4', '--steps', 1, '--seeds', 1, '--metric', 'PCK@0.2', '--out', tmp_path]
    code, out, error = command('analyze', 'pooling', *arguments, *format_cli_options(options))
    assert code == 0, error
    rows = list(csv.DictReader((tmp_path / 'runs.csv').read_text().splitlines()))
    assert [row['variant'] for row in rows] == ['stride 4', 'stride 8']
    assert 'stride 8 as good as stride 4, within 2' in out
    assert '--strides 4,8 --margin 2' in out
