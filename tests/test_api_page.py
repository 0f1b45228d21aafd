"""The page of the Python API says what the docstrings say."""

import importlib.util
from pathlib import Path

import pytest

import poseplug

SCRIPT = Path(__file__).parent.parent / 'docs' / 'write_api_page.py'


@pytest.fixture(scope='module')
def writer():
    spec = importlib.util.spec_from_file_location('write_api_page', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(writer):
    assert writer.PAGE.read_text() == writer.write_page(), 'run: python docs/write_api_page.py'


def test_every_public_name_has_a_heading_or_a_line(writer):
    lines = writer.write_page().splitlines()
    for name in poseplug.__all__:
        assert name == '__version__' or f'### {name}' in lines or any(line.startswith(f'- `{name}`') for line in lines)


def test_a_docstring_becomes_titles_lists_and_an_example(writer):
    docstring = """Add numbers.

Args:
    first: a number,
        whole or not.
    *others: more numbers.

Returns:
    Their sum.

Example:
    >>> add(1, 2)
    3"""
    assert writer.format_docstring(docstring) == [
        'Add numbers.',
        '',
        '**Args**',
        '',
        '- `first`: a number,',
        '  whole or not.',
        '- `*others`: more numbers.',
        '',
        '**Returns**',
        '',
        'Their sum.',
        '',
        '```pycon',
        '>>> add(1, 2)',
        '3',
        '```',
        '',
    ]
