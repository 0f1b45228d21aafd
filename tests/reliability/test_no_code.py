"""No code of the package runs the content of a file, except at allowed places, each with its reason."""

import ast

import pytest

from tests.reliability import unsafe


def test_no_call_could_run_the_content_of_a_file():
    assert unsafe.find_banned_calls() == []


def test_every_allowed_call_still_exists():
    for file, call in unsafe.ALLOWED_CALLS:
        calls = [name for name, _ in unsafe.iter_banned_calls(ast.parse((unsafe.ROOT / file).read_text()))]
        assert call in calls


@pytest.mark.parametrize(('code', 'call'), [
    ('eval(text)', 'eval'),
    ('import pickle\npickle.load(file)', 'pickle.load'),
    ('from pickle import loads as read\nread(data)', 'pickle.loads'),
    ('import numpy as n\nn.load(file)', 'numpy.load'),
    ('torch.load(file, weights_only=False)', 'torch.load'),
    ('f(allow_pickle=True)', 'allow_pickle=True'),
    ('subprocess.run(text, shell=True)', 'shell=True'),
    ('from json_tricks import load\nload(file)', 'json_tricks.load'),
])  # fmt: skip
def test_a_call_is_recognized_under_the_name_that_an_import_gives_it(code, call):
    assert call in [name for name, _ in unsafe.iter_banned_calls(ast.parse(code))]


def test_a_method_called_eval_is_not_banned():
    assert list(unsafe.iter_banned_calls(ast.parse('model.eval()\nre.compile(text)\ntorch.compile(model)'))) == []
