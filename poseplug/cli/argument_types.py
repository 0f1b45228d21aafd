"""Types of arguments for argparse: texts of the command line as numbers, names and sizes.

argparse's own error names the function ('invalid parse_count value'), so that every type raises an error in words.
"""

from __future__ import annotations

__all__ = [
    'parse_count',
    'parse_counts',
    'parse_fraction',
    'parse_names',
    'parse_numbers',
    'parse_positive_float',
    'parse_positive_int',
    'parse_size',
    'parse_weights_source',
]

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Number = TypeVar('_Number', int, float)


def _parse_number(
    text: str, convert: Callable[[str], _Number], is_valid: Callable[[_Number], bool], problem: str
) -> _Number:
    """The number that a text is, or an error with the text and its problem."""
    try:
        number = convert(text)
    except ValueError:
        # one message for texts that are no numbers and for numbers out of range
        number = None
    if number is None or not is_valid(number):
        raise argparse.ArgumentTypeError(f'{text!r} {problem}')
    return number


def parse_positive_int(text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _parse_number(text, int, lambda number: number >= 1, 'is not a whole number of at least 1')


def parse_count(text: str) -> int:
    """Parse a whole number of at least 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _parse_number(text, int, lambda number: number >= 0, 'is not a whole number of at least 0')


def parse_counts(text: str) -> list[int]:
    """Parse whole numbers of at least 1, separated by commas.

    Raises:
        argparse.ArgumentTypeError: one is none.
    """
    return [parse_positive_int(part) for part in parse_names(text)]


def parse_positive_float(text: str) -> float:
    """Parse a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _parse_number(text, float, lambda number: 0 < number < math.inf, 'is not a number above 0')


def parse_fraction(text: str) -> float:
    """Parse a number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    # false for NaN, too
    return _parse_number(text, float, lambda number: 0 <= number <= 1, 'does not lie between 0 and 1')


def parse_numbers(text: str) -> list[float]:
    """Parse finite numbers separated by commas.

    Raises:
        argparse.ArgumentTypeError: one is none, or there is none.

    Example:
        >>> parse_numbers('0,0.1,-2')
        [0.0, 0.1, -2.0]
    """
    # an empty text is refused as a number: no value at all is a typing error
    problem = 'is not a number; write numbers with commas between them, such as 0,0.1'
    return [_parse_number(part, float, math.isfinite, problem) for part in parse_names(text) or ['']]


def parse_names(text: str) -> list[str]:
    """Parse names separated by commas; blanks around them and empty ones are dropped.

    Example:
        >>> parse_names('nose, left_eye,')
        ['nose', 'left_eye']
    """
    return [part.strip() for part in text.split(',') if part.strip()]


def parse_size(text: str) -> tuple[int, int]:
    """Parse a width and a height in px, as 192x256 or 192,256.

    Raises:
        argparse.ArgumentTypeError: it is another text.
    """
    parts = text.replace('x', ',').split(',')
    # `int` alone would also accept -5 and 1_000
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} is not a width and a height in px, such as 192x256 or 192,256')
    return int(parts[0]), int(parts[1])


def parse_weights_source(text: str) -> Path | str:
    """Parse a file or folder of weights, or an address, which stays a text.

    Example:
        >>> parse_weights_source('https://example.org/a.pth#sha256=0f')
        'https://example.org/a.pth#sha256=0f'
    """
    # A path would make one slash of the two.
    return text if '://' in text else Path(text)
