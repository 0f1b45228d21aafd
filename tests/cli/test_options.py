"""How commands parse their options."""

import argparse

import pytest

from poseplug.cli.commands import predict
from poseplug.cli.options import parse_cfg_option


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('(128,128)', (128, 128)),
        ('true', True),
        ('None', None),
        ('none', 'none'),
        ('HeatmapHead', 'HeatmapHead'),
        ("{'type': 'Warp'}", {'type': 'Warp'}),
        ("dict(type='Warp')", {'type': 'Warp'}),
        ("[dict(type='A', b=dict(c=(1, 2))), dict()]", [{'type': 'A', 'b': {'c': (1, 2)}}, {}]),
        ('a=b', 'a=b'),
        ("dict(['ab'])", "dict(['ab'])"),
        ('dict(**{})', 'dict(**{})'),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("dict(a=open('x'))", "dict(a=open('x'))"),
    ],
)
def test_a_value_is_a_literal_as_in_configs_or_else_a_string_and_is_never_run(text, value):
    assert parse_cfg_option(f'model.x={text}') == ('model.x', value)


@pytest.mark.parametrize('text', ['model.x', '=3'])
def test_an_option_without_key_or_value_is_an_error(text):
    with pytest.raises(argparse.ArgumentTypeError, match='is not KEY=VALUE'):
        parse_cfg_option(text)


def test_tracking_options_become_settings_of_the_tracker():
    parser = argparse.ArgumentParser()
    predict.add_predict_arguments(parser)
    config = predict._get_tracker_config(parser.parse_args(['a.mp4']))
    assert config == {'type': 'SimilarityTracker'}
    given = parser.parse_args(
        ['a.mp4', '--track-max-age', '9.5', '--track-min-frames', '0', '--track-num-instances', '2']
    )
    assert predict._get_tracker_config(given) == {
        'type': 'SimilarityTracker', 'max_age': 9.5, 'min_frames': 0, 'num_instances': 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ('command_name', 'arguments', 'named'),
    [
        ('train', ['c.py', '--work-dir', ''], 'the value of --work-dir'),
        ('train', ['c.py', '--init', ''], 'the value of --init'),
        ('train', ['c.py', '--init='], 'the value of --init'),
        ('test', ['c.py', ''], 'argument 2'),
        ('test.py', ['c.py', ''], 'argument 2'),
        ('test', ['c.py', 'w.pth', '--report', ''], 'the value of --report'),
        ('predict', ['a.jpg', '--smoother', ''], 'the value of --smoother'),
        ('predict', ['a.jpg', '--out', ''], 'the value of --out'),
        ('dataset', ['convert', '', 'out', '--to', 'csv'], 'argument 2'),
    ],
)
def test_an_empty_argument_is_refused_and_is_not_the_current_folder(command, command_name, arguments, named):
    code, _, error = command(command_name, *arguments)
    assert code == 2
    assert f'{named} is an empty text, as of a shell variable that is not set' in error


def test_an_empty_value_of_a_setting_is_a_value():
    assert parse_cfg_option('data_root=') == ('data_root', '')
