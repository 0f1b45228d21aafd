"""The JSON Schema of configs: it accepts all shipped ones, and refuses what the check of configs refuses."""

import json
import subprocess
import sys

import pytest

from poseplug.cli.commands.completion import build_full_parser
from poseplug.config.load import load_config
from poseplug.config.settings import CONFIG_SETTINGS
from poseplug.inspect.config_schema import build_config_schema, describe_annotation

FAMILIES = [
    'cpm_lsp_lite', 'hrnet_w32_coco_256x192', 'rtmo_s_coco_640', 'openpose_body25_368', 'vitpose_b_multi_256x192',
    'hourglass_half_lsp_128_distilled', 'cpn_r50_coco_256x192', 'rtmpose_m_coco_256x192', 'ae_hrnet_w32_coco_512',
]  # fmt: skip
GOOD = {
    'skeleton': 'lsp',
    'model': {
        'type': 'TopDown',
        'codec': {'type': 'CPMHeatmap', 'input_size': [64, 64]},
        'backbone': {'type': 'CPMTrunk'},
    },
    'train_cfg': {'max_steps': 3, 'val_interval': 0.5},
    'default_hooks': {'checkpoint': {'interval': 2}, 'report': None},
    'custom_hooks': [{'type': 'EMAHook', 'run_fraction': 0.1}],
    'param_scheduler': [{'type': 'CosineAnnealingLR', 'begin': 0, 'end': 1.0}],
    '_base_': ['base.json'],
}


@pytest.fixture(scope='module')
def schema():
    return json.loads(json.dumps(build_config_schema()))


@pytest.fixture(scope='module')
def validator(schema):
    jsonschema = pytest.importorskip('jsonschema', reason="needs pip install 'poseplug[test]'")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def change(path, value):
    """The good config with another value at a path."""
    cfg = json.loads(json.dumps(GOOD))
    inner = cfg
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return cfg


@pytest.mark.parametrize('name', FAMILIES)
def test_a_shipped_config_is_valid(validator, name):
    cfg = json.loads(json.dumps(load_config(name).to_dict(), default=list))
    assert [error.message for error in validator.iter_errors(cfg)] == []


def test_a_config_of_some_settings_is_valid(validator):
    assert [error.message for error in validator.iter_errors(GOOD)] == []


@pytest.mark.parametrize(('path', 'value'), [
    (['modle'], {}),
    (['model', 'type'], 'TopDwon'),
    (['model', 'codec', 'type'], 'CPMHeatmpa'),
    (['model', 'codec', 'sigma'], 3.0),
    (['model', 'codec', 'sigma_px'], 'large'),
    (['model', 'codec', 'refine'], 'drak'),
    (['model', 'codec', 'input_size'], 64),
    (['train_cfg', 'max_step'], 3),
    (['default_hooks', 'checkpoint', 'intervall'], 3),
    (['custom_hooks', 0, 'momntum'], 0.1),
    (['custom_imports'], {'imports': ['mine']}),
])  # fmt: skip
def test_a_wrong_setting_is_not_valid(validator, path, value):
    assert not validator.is_valid(change(path, value))


def test_every_setting_of_a_config_but_imports_of_code_is_in_it(schema):
    assert set(schema['properties']) == {*CONFIG_SETTINGS, '_base_'} - {'custom_imports'}


def test_settings_have_descriptions_or_say_that_another_part_provides_them(schema):
    head = schema['$defs']['model.HeatmapHead']['properties']
    assert head['in_channels'] == {'description': 'another part provides it'}
    assert schema['$defs']['codec.CPMHeatmap']['properties']['input_size']['description'].startswith('(width, height)')


def test_a_setting_that_is_as_in_another_class_has_the_description_of_that_class(schema):
    estimators = {name: schema['$defs'][f'model.{name}']['properties'] for name in ('TopDown', 'BottomUp', 'OneStage')}
    assert estimators['BottomUp']['channels_last'] == estimators['TopDown']['channels_last']
    assert 'memory format' in estimators['OneStage']['channels_last']['description']
    texts = [value.get('description', '') for settings in estimators.values() for value in settings.values()]
    assert not [text for text in texts if text.startswith('As in')]


@pytest.mark.parametrize(('annotation', 'expected'), [
    (int, {'type': 'integer'}),
    (float | None, {'type': ['number', 'null']}),
    (list[str] | str, {'anyOf': [{'type': 'array', 'items': {'type': 'string'}}, {'type': 'string'}]}),
    (dict[str, int], {'type': 'object'}),
    (tuple[float | None, float], {'type': 'array', 'items': {'type': ['number', 'null']}}),
    (tuple[int, ...], {'type': 'array', 'items': {'type': 'integer'}}),
    (object, {}),
    (int | object, {}),
    (None, {}),
])  # fmt: skip
def test_a_type_becomes_what_json_has_for_it(annotation, expected):
    assert describe_annotation(annotation) == expected


def test_the_command_writes_a_file_or_prints(command, tmp_path):
    code, out, err = command('schema', '--out', tmp_path / 'a/schema.json')
    assert (code, out, err) == (0, f'written: {tmp_path}/a/schema.json\n', '')
    assert command('schema')[1] == (tmp_path / 'a/schema.json').read_text()
    (tmp_path / 'file').write_text('')
    code, out, err = command('schema', '--out', tmp_path / 'file/schema.json')
    assert (code, out) == (2, '')
    assert 'name another --out' in err


def test_the_completion_has_every_command_with_its_options():
    help_text = build_full_parser().format_help()
    assert '{analyze,compare,completion,convert,' in help_text.replace('\n', '').replace(' ', '')


def test_bash_reads_the_completion(command):
    pytest.importorskip('shtab', reason="needs pip install 'poseplug[completion]'")
    code, out, err = command('completion', 'bash')
    assert code == 0, err
    assert '--val-fraction' in out
    subprocess.run(['bash', '-n'], input=out, text=True, check=True)


def test_without_shtab_the_message_says_how_to_get_it(command, monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    code, out, err = command('completion', 'zsh')
    assert (code, out) == (2, '')
    assert "completion needs the package shtab: pip install 'poseplug[completion]'" in err
