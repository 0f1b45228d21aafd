"""Texts of the command line as numbers, names and sizes."""

import argparse

import pytest

from poseplug.cli import argument_types


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('parse_positive_int', '1', 1),
        ('parse_count', '0', 0),
        ('parse_counts', '3, 1,3', [3, 1, 3]),
        ('parse_positive_float', '1e-3', 0.001),
        ('parse_fraction', '1', 1.0),
        ('parse_numbers', '0, -0.5', [0.0, -0.5]),
        ('parse_names', ' a,,b ', ['a', 'b']),
        ('parse_size', '192x256', (192, 256)),
        ('parse_size', '192,256', (192, 256)),
    ],
)
def test_a_text_is_the_value_that_it_writes(name, text, value):
    assert getattr(argument_types, name)(text) == value


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('parse_positive_int', '0', "'0' is not a whole number of at least 1"),
        ('parse_positive_int', '1.5', "'1.5' is not a whole number"),
        ('parse_count', '-1', "'-1' is not a whole number of at least 0"),
        ('parse_counts', '1,x', "'x' is not a whole number of at least 1"),
        ('parse_positive_float', 'inf', "'inf' is not a number above 0"),
        ('parse_positive_float', 'nan', "'nan' is not a number above 0"),
        ('parse_fraction', 'half', "'half' does not lie between 0 and 1"),
        ('parse_fraction', 'nan', "'nan' does not lie between 0 and 1"),
        ('parse_numbers', '1,two', "'two' is not a number"),
        ('parse_numbers', ',', "'' is not a number"),
        ('parse_size', '192', "'192' is not a width and a height"),
        ('parse_size', '-1x5', "'-1x5' is not a width and a height"),
    ],
)
def test_another_text_is_an_error_in_words(name, text, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words.replace('(', r'\(')):
        getattr(argument_types, name)(text)
