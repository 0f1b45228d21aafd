"""Nothing in the house runs what a file says, outside the places that are named with their reason."""

import ast

import pytest

from tests.reliability import unsafe


def test_no_call_could_run_what_a_file_says():
    assert unsafe.code_faults() == []


def test_every_named_place_still_needs_its_exception():
    for file, call in unsafe.PLACES:
        calls = [name for name, _ in unsafe.banned_calls(ast.parse((unsafe.ROOT / file).read_text()))]
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
def test_a_call_is_found_under_the_name_that_an_import_gave_it(code, call):
    assert call in [name for name, _ in unsafe.banned_calls(ast.parse(code))]


def test_a_method_called_eval_is_none():
    assert list(unsafe.banned_calls(ast.parse('model.eval()\nre.compile(text)\ntorch.compile(model)'))) == []
