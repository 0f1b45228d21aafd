"""Configs in JSON and YAML: nothing in them is run, and they mean the same as a Python config of that content."""

import json
import sys

import pytest

from poseplug.config.data_files import inspect_python_config, load_data_config
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, UnsafeFileError
from tests.reliability import unsafe

LITE = 'configs/cpm/cpm_lsp_lite.py'


@pytest.fixture(scope='module')
def lite(root_of_tests):
    return json.loads(json.dumps(load_config(root_of_tests / LITE).to_dict()))


@pytest.fixture(scope='module')
def root_of_tests(request):
    return request.config.rootpath


@pytest.mark.parametrize('suffix', ['.json', '.yaml'])
def test_a_data_config_means_the_same_as_the_python_config(lite, tmp_path, suffix):
    import yaml

    file = tmp_path / f'lite{suffix}'
    file.write_text(json.dumps(lite) if suffix == '.json' else yaml.safe_dump(lite))
    assert load_config(file).to_dict() == lite
    options = {'model.codec.sigma_px': 3.0}
    assert load_config(file, options).model.codec.sigma_px == 3.0


def test_a_config_overrides_its_base(tmp_path):
    (tmp_path / 'base.yaml').write_text('model: {head: {type: CPMHead, num_stages: 6}, loss: 1}\nseed: 1\n')
    (tmp_path / 'own.json').write_text(json.dumps({'_base_': 'base.yaml', 'model': {'head': {'num_stages': 3}}}))
    merged = {'model': {'head': {'type': 'CPMHead', 'num_stages': 3}, 'loss': 1}, 'seed': 1}
    assert load_data_config(tmp_path / 'own.json') == merged
    (tmp_path / 'own.json').write_text(json.dumps({'_base_': ['base.yaml'], 'model': {'_delete_': True, 'a': 1}}))
    assert load_data_config(tmp_path / 'own.json') == {'model': {'a': 1}, 'seed': 1}


def test_a_misspelt_setting_of_a_data_config_is_reported_with_its_file(lite, tmp_path):
    lite = {**lite, 'model': {**lite['model'], 'head': {'type': 'CPMHed'}}}
    (tmp_path / 'lite.json').write_text(json.dumps(lite))
    with pytest.raises(ConfigError, match=r"lite.json, model.head.type: .* closest: 'CPMHead'"):
        load_config(tmp_path / 'lite.json')


def test_nine_attacks_are_refused_by_name_and_run_nothing(tmp_path):
    assert list(unsafe.find_config_faults(tmp_path)) == []


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('a.json', '[1]', 'it holds no settings by name'),
    ('a.json', '{', 'is no readable JSON'),
    ('a.yaml', 'a: [', 'is no readable YAML'),
    ('a.json', '[' * 100_000, 'is no readable JSON'),
    ('a.json', '{"_base_": "a.json"}', 'do they refer to each other in a circle'),
    ('a.json', '{"_base_": "b.json"}', 'b.json: No such file'),
    ('a.txt', '{}', 'is no config: its name ends in .py'),
])  # fmt: skip
def test_a_file_that_is_not_a_data_config_is_an_error(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(tmp_path / name)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize('base', [['x.py'], 'x.pkl', [1], [None]])
def test_a_base_must_be_data_too(tmp_path, base):
    (tmp_path / 'a.json').write_text(json.dumps({'_base_': base}))
    with pytest.raises(UnsafeFileError, match=r'a.json: its base .* is no .json, .yaml, .yml file'):
        load_data_config(tmp_path / 'a.json')


@pytest.mark.parametrize('change', [
    {'skeleton': 'evil_module.Thing'},
    {'skeleton': 'lsp+evil_module.Thing'},
    {'model': {'type': 'evil_module.Thing'}},
    {'model': {'type': 'TopDown', 'head': [{'type': 'evil_module.Thing'}]}},
    {'model': {'type': 'DistilledTopDown', 'teacher': {'config': 'evil_module.py', 'weights': 'w.pth'}}},
    {'optim_wrapper': {'constructor': 'evil_module.Thing'}},
])  # fmt: skip
@pytest.mark.parametrize('suffix', ['json', 'yaml'])
def test_a_data_config_imports_no_module_by_a_dotted_name(lite, tmp_path, monkeypatch, change, suffix):
    (tmp_path / 'evil_module.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f'a.{suffix}').write_text(json.dumps({**lite, **change}))
    with pytest.raises((UnsafeFileError, ConfigError), match='evil_module.* (runs code|is not registered)'):
        load_config(tmp_path / f'a.{suffix}', training=True)
    assert 'evil_module' not in sys.modules


def test_a_python_config_is_shown_without_running_it(tmp_path, command):
    marker = tmp_path / 'marker'
    (tmp_path / 'c.py').write_text(
        f'"""A config."""\nimport os\nside = (64, 48)\nopen({str(marker)!r}, "w")\n'
        "model = dict(type='TopDown', size=side, ratio=-0.5, path=os.getcwd(), parts=[dict(a=1), {'b': None}])\n"
    )
    code, out, _ = command('describe', tmp_path / 'c.py', '--safe')
    assert code == 0
    assert not marker.exists()
    assert json.loads(out) == {
        'line 2': '<not run: import os>',
        'side': [64, 48],
        'line 4': f'<not run: open({str(marker)!r}, \'w\')>',
        'model': {'type': 'TopDown', 'size': [64, 48], 'ratio': -0.5, 'path': '<not run: os.getcwd()>',
                  'parts': [{'a': 1}, {'b': None}]},
    }  # fmt: skip


def test_every_shipped_config_can_be_shown_without_running_it(root):
    for file in (root / 'configs').rglob('*.py'):
        assert inspect_python_config(file)
