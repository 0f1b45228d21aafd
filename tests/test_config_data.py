"""Configs of data: nothing in them is run, and what they say is what the same Python config says."""

import json
import sys

import pytest

from poseplug.config import load_config
from poseplug.config_data import outline, plain_yaml, read_data
from poseplug.errors import ConfigError, UnsafeFileError
from tests.reliability import unsafe

LITE = 'configs/cpm/cpm_lsp_lite.py'


@pytest.fixture(scope='module')
def lite(root_of_tests):
    return json.loads(json.dumps(load_config(root_of_tests / LITE).to_dict()))


@pytest.fixture(scope='module')
def root_of_tests(request):
    return request.config.rootpath


@pytest.mark.parametrize('ending', ['.json', '.yaml'])
def test_a_config_of_data_says_what_the_python_config_says(lite, tmp_path, ending):
    import yaml

    file = tmp_path / f'lite{ending}'
    file.write_text(json.dumps(lite) if ending == '.json' else yaml.safe_dump(lite))
    assert load_config(file).to_dict() == lite
    options = {'model.codec.sigma': 3.0}
    assert load_config(file, options).model.codec.sigma == 3.0


def test_a_base_is_joined_and_what_it_says_is_overruled(tmp_path):
    (tmp_path / 'base.yaml').write_text('model: {head: {type: CPMHead, stages: 6}, loss: 1}\nseed: 1\n')
    (tmp_path / 'own.json').write_text(json.dumps({'_base_': 'base.yaml', 'model': {'head': {'stages': 3}}}))
    own = {'model': {'head': {'type': 'CPMHead', 'stages': 3}, 'loss': 1}, 'seed': 1}
    assert read_data(tmp_path / 'own.json') == own
    (tmp_path / 'own.json').write_text(json.dumps({'_base_': ['base.yaml'], 'model': {'_delete_': True, 'a': 1}}))
    assert read_data(tmp_path / 'own.json') == {'model': {'a': 1}, 'seed': 1}


def test_a_misspelt_setting_of_a_data_config_is_told_with_its_file(lite, tmp_path):
    lite = {**lite, 'model': {**lite['model'], 'head': {'type': 'CPMHed'}}}
    (tmp_path / 'lite.json').write_text(json.dumps(lite))
    with pytest.raises(ConfigError, match=r"lite.json, model.head.type: .* closest: 'CPMHead'"):
        load_config(tmp_path / 'lite.json')


def test_nine_attacks_are_refused_by_name_and_run_nothing(tmp_path):
    assert list(unsafe.config_faults(tmp_path)) == []


@pytest.mark.parametrize(('name', 'text', 'told'), [
    ('a.json', '[1]', 'it holds no settings by name'),
    ('a.json', '{', 'is no readable JSON'),
    ('a.yaml', 'a: [', 'is no readable YAML'),
    ('a.json', '[' * 100_000, 'is no readable JSON'),
    ('a.json', '{"_base_": "a.json"}', 'do they go round in a circle'),
    ('a.json', '{"_base_": "b.json"}', 'b.json: No such file'),
    ('a.txt', '{}', 'is no config: its name ends in .py'),
])  # fmt: skip
def test_what_is_no_config_of_data_is_told(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=told) as error:
        load_config(tmp_path / name)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize('base', [['x.py'], 'x.pkl', [1], [None]])
def test_a_base_is_data_too(tmp_path, base):
    (tmp_path / 'a.json').write_text(json.dumps({'_base_': base}))
    with pytest.raises(UnsafeFileError, match=r'a.json: its base .* is no .json, .yaml, .yml file'):
        read_data(tmp_path / 'a.json')


@pytest.mark.parametrize('change', [
    {'skeleton': 'evil_module.Thing'},
    {'skeleton': 'lsp+evil_module.Thing'},
    {'model': {'type': 'evil_module.Thing'}},
    {'model': {'type': 'TopDown', 'head': [{'type': 'evil_module.Thing'}]}},
    {'model': {'type': 'DistilledTopDown', 'teacher': {'config': 'evil_module.py', 'weights': 'w.pth'}}},
    {'optim_wrapper': {'constructor': 'evil_module.Thing'}},
])  # fmt: skip
@pytest.mark.parametrize('ending', ['json', 'yaml'])
def test_a_config_of_data_imports_no_module_by_a_name_with_dots(lite, tmp_path, monkeypatch, change, ending):
    (tmp_path / 'evil_module.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f'a.{ending}').write_text(json.dumps({**lite, **change}))
    with pytest.raises((UnsafeFileError, ConfigError), match='evil_module.* (runs code|is not registered)'):
        load_config(tmp_path / f'a.{ending}', training=True)
    assert 'evil_module' not in sys.modules


def test_aliases_are_refused_with_their_line():
    with pytest.raises(ValueError, match=r'line 2 refers to another place \(\*a\)'):
        plain_yaml('a: &a [1]\nb: *a\n')


def test_a_python_config_is_shown_and_not_run(tmp_path, command):
    marker = tmp_path / 'marker'
    (tmp_path / 'c.py').write_text(
        f'"""A config."""\nimport os\nside = (64, 48)\nopen({str(marker)!r}, "w")\n'
        "model = dict(type='TopDown', size=side, ratio=-0.5, path=os.getcwd(), parts=[dict(a=1), {'b': None}])\n"
    )
    code, out, _ = command('describe.py', tmp_path / 'c.py', '--safe')
    assert code == 0
    assert not marker.exists()
    assert json.loads(out) == {
        'line 2': '<not run: import os>',
        'side': [64, 48],
        'line 4': f'<not run: open({str(marker)!r}, \'w\')>',
        'model': {'type': 'TopDown', 'size': [64, 48], 'ratio': -0.5, 'path': '<not run: os.getcwd()>',
                  'parts': [{'a': 1}, {'b': None}]},
    }  # fmt: skip


def test_every_config_of_the_house_can_be_shown_unrun(root):
    for file in (root / 'configs').rglob('*.py'):
        assert outline(file)
