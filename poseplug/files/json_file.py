"""Reads JSON annotation files, column by column; a value that is not finite or of the wrong type or length is refused.

Every error names the file, the row and the key.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.files.collector_pause import pause_garbage_collector

MAX_COORDINATE_PX = 1e7  # larger numbers cannot be positions in an image
_MAX_INTEGER = 1 << 53  # of ids: larger integers are not exact in programs that read JSON numbers as floats
_MAX_LISTED_VALUES, _MAX_VALUE_CHARS = 6, 80  # of a value in an error message
FIX_FILE_HINT = 'Correct the file or take it anew from its archive'
_ABSENT = object()
_SUSPECT_NAME = re.compile(r'\.\.|^[/\\]|:|\0')  # of a file: it may lead out of its folder


@pause_garbage_collector()
def read_json(file: Path) -> Any:
    """Read a JSON file.

    Args:
        file: the file.

    Returns:
        Its content.

    Raises:
        AnnotationError: the file cannot be read or is no JSON.
    """
    try:
        return parse_json(file.read_bytes())
    except OSError as error:
        cause = error.strerror or error
        raise AnnotationError(f'{file}: {cause}; check its path, or restore the file') from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{file} is not a readable JSON file ({error}); take it anew from its archive') from error


def parse_json(text: str | bytes) -> Any:
    """Parse JSON whose objects name every key once.

    Args:
        text: the JSON.

    Returns:
        The value, of plain Python types.

    Raises:
        ValueError: the text is no JSON, or an object names a key twice: of these JSON readers take the last one.
    """
    return json.loads(text, object_pairs_hook=_build_json_object)


def _build_json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build the object of these keys and values."""
    # Counted only where a key is lost: most objects are unique, and this runs for each of millions.
    content = dict(pairs)
    if len(content) < len(pairs):
        ((name, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f'an object names the key {name!r} twice')
    return content


@dataclass(frozen=True)
class JsonRows:
    """A list of JSON objects, read a column at a time.

    Attributes:
        file: the file, for error messages.
        item_noun: what error messages call one object, as in 'annotation'.
        items: the objects.
        id_key: the key by whose value error messages name an object.

    Example:
        >>> rows = JsonRows(Path('boxes.json'), 'box', [{'score': 0.5}, {'score': 1}])
        >>> rows.read_numbers('score', 'a finite number').tolist()
        [0.5, 1.0]
        >>> str(rows.value_error(1, 'score', 'a number below 1'))
        'boxes.json: box 2: score is a number below 1; found 1. Correct the file or take it anew from its archive'
    """

    file: Path
    item_noun: str
    items: Sequence[dict[str, Any]]
    id_key: str = 'id'

    @classmethod
    def from_list(cls, file: Path, content: Any, item_noun: str, id_key: str = 'id') -> JsonRows:
        """Create the rows of a list.

        Args:
            file: the file, for error messages.
            content: what should be a list of objects.
            item_noun: what error messages call one object.
            id_key: the key by whose value error messages name an object.

        Raises:
            AnnotationError: it is not a list of objects.
        """
        if not isinstance(content, list):
            description = describe_json_value(content)
            raise AnnotationError(
                f'{file}: each {item_noun} is an entry of a list; found {description}. This is another file'
            )
        for i, item in enumerate(content):
            if not isinstance(item, dict):
                description = describe_json_value(item)
                raise AnnotationError(
                    f'{file}: {item_noun} {i + 1} is an object with names; found {description}. {FIX_FILE_HINT}'
                )
        return cls(file, item_noun, content, id_key)

    def __len__(self) -> int:
        return len(self.items)

    def describe_row(self, i: int) -> str:
        """Return what error messages call a row: its number, counted from 1, and its id.

        Args:
            i: index of the row, counted from 0.
        """
        value = self.items[i].get(self.id_key)
        row_id = '' if value is None else f' ({self.id_key} {describe_json_value(value)})'
        return f'{self.item_noun} {i + 1}{row_id}'

    def value_error(self, i: int, key: str, expected: str) -> AnnotationError:
        """Return the error for a value that is not what is expected.

        Args:
            i: index of the row.
            key: the key of the value.
            expected: what the value should be, as in 'a finite number'.
        """
        description = describe_json_value(self.items[i].get(key, _ABSENT))
        return AnnotationError(
            f'{self.file}: {self.describe_row(i)}: {key} is {expected}; found {description}. {FIX_FILE_HINT}'
        )

    def has_key(self, key: str) -> np.ndarray:
        """Return which rows have a key, as (n,) bool.

        Args:
            key: the key.
        """
        return np.array([key in item for item in self.items], dtype=bool)

    def read_lists(self, key: str, width: int, expected: str, default: list[float] | None = None) -> np.ndarray:
        """Read a column of lists of finite numbers.

        Args:
            key: the key of the column.
            width: the length of every list.
            expected: what a list should be, for error messages.
            default: the list where the key is absent; None if it must be there.

        Returns:
            (n, width) float64.

        Raises:
            AnnotationError: a value is something else, or a number is beyond ten million.
        """
        values = [item.get(key, default) for item in self.items]
        return self._read_number_table(key, values, width, expected, MAX_COORDINATE_PX)

    def read_numbers(
        self, key: str, expected: str, default: float | None = None, max_abs: float = MAX_COORDINATE_PX
    ) -> np.ndarray:
        """Read a column of finite numbers.

        Args:
            key: the key of the column.
            expected: what a value should be, for error messages.
            default: the number where the key is absent; None if it must be there.
            max_abs: largest absolute value.

        Returns:
            (n,) float64.

        Raises:
            AnnotationError: a value is something else.
        """
        values = [[item.get(key, default)] for item in self.items]
        return self._read_number_table(key, values, 1, expected, max_abs)[:, 0]

    def _read_number_table(self, key: str, rows: list[Any], width: int, expected: str, max_abs: float) -> np.ndarray:
        # Types and values are checked for all numbers at once; a Python call per number would be far slower.
        # Exactly int and float: bool is a subclass of int, and True is no coordinate.
        has_width = all(type(row) is list and len(row) == width for row in rows)
        if has_width and set(map(type, chain.from_iterable(rows))) <= {int, float}:
            try:
                table = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width).reshape(-1, width)
            except OverflowError:  # an integer beyond every float
                table = np.full((1, 1), np.inf)
            if (np.abs(table) <= max_abs).all():
                return table
        first_wrong = next(i for i, row in enumerate(rows) if not _is_number_list(row, width, max_abs))
        raise self.value_error(first_wrong, key, expected)

    def read_integers(self, key: str, expected: str = 'a whole number', default: int | None = None) -> np.ndarray:
        """Read a column of integers.

        Args:
            key: the key of the column.
            expected: what a value should be, for error messages.
            default: the integer where the key is absent; None if it must be there.

        Returns:
            (n,) int64.

        Raises:
            AnnotationError: a value is something else, or of 2^53 or more.
        """
        values = [item.get(key, default) for item in self.items]
        # `type`, not `isinstance`: True is an int, too.
        self._check_values(key, values, lambda v: type(v) is int and abs(v) < _MAX_INTEGER, expected)
        return np.array(values, dtype=np.int64)

    def read_strings(self, key: str, expected: str) -> list[str]:
        """Read a column of strings that are not empty.

        Args:
            key: the key of the column.
            expected: what a value should be, for error messages.

        Returns:
            n strings.

        Raises:
            AnnotationError: a value is something else.
        """
        values = [item.get(key) for item in self.items]
        self._check_values(key, values, lambda v: type(v) is str and v != '', expected)
        return [str(v) for v in values]

    def check_unique(self, key: str, values: Sequence[Any] | np.ndarray) -> None:
        """Refuse two rows with the same value.

        Args:
            key: the key of the values, for error messages.
            values: n values.

        Raises:
            AnnotationError: a value comes twice.
        """
        first: dict[Any, int] = {}
        for i, value in enumerate(values):
            if first.setdefault(value, i) != i:
                raise self.value_error(i, key, f'different from that of {self.item_noun} {first[value] + 1}')

    def _check_values(self, key: str, values: list[Any], is_valid: Callable[[Any], bool], expected: str) -> None:
        for i, value in enumerate(values):
            if not is_valid(value):
                raise self.value_error(i, key, expected)


def _is_number_list(row: Any, width: int, max_abs: float) -> bool:
    """Return whether a value is a list of `width` finite numbers, none beyond `max_abs`."""
    return type(row) is list and len(row) == width and all(type(v) in (int, float) and abs(v) <= max_abs for v in row)


def flatten_pairs(value: Any) -> Any:
    """Return a list of pairs as one flat list; anything else as it is.

    Args:
        value: any JSON value.

    Example:
        >>> flatten_pairs([[1, 2], [3, 4]])
        [1, 2, 3, 4]
    """
    is_pairs = isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value)
    return [*chain.from_iterable(value)] if is_pairs else value


def describe_json_value(value: Any) -> str:
    """Describe a JSON value for an error message, in a few words.

    Args:
        value: any JSON value.

    Example:
        >>> describe_json_value([1, 2, 3, 4, 5, 6, 7, 8, 9])
        '9 values: [1, 2, 3, 4, 5, 6, ...]'
    """
    if value is _ABSENT:
        return 'nothing'
    try:
        return _abbreviate_json(value)
    except RecursionError:
        return 'lists within lists'


def _abbreviate_json(value: Any) -> str:
    """Return the first part of a JSON value as it is written."""
    if isinstance(value, list) and len(value) > 8:
        first = value[:_MAX_LISTED_VALUES]
        while first and len(str(first)) >= _MAX_VALUE_CHARS:
            first = first[:-1]
        if not first:
            noun = 'lists' if isinstance(value[0], list) else 'values'
            return f'{len(value)} {noun}'
        return f'{len(value)} values: {_abbreviate_json(first)[:-1]}, ...]'
    if isinstance(value, dict):
        keys = ', '.join(map(ascii, [*value][:_MAX_LISTED_VALUES])) or 'nothing in it'
        return f'an object with {keys}'
    text = ascii(value) if isinstance(value, str | float | int | list | None) else type(value).__name__
    return text if len(text) < _MAX_VALUE_CHARS else f'{text[: _MAX_VALUE_CHARS - 4]}...'


def check_image_names(rows: JsonRows, key: str) -> list[str]:
    """Read a column of image files, which must not lead out of the folder of the images.

    Args:
        rows: the rows of an annotation file.
        key: the key of the column.

    Returns:
        n names, possibly with folders.

    Raises:
        AnnotationError: a name is absolute, goes up by `..`, or is no name.
    """
    names = rows.read_strings(key, 'the name of an image in its folder')
    for i, name in enumerate(names):
        if _SUSPECT_NAME.search(name) and _leads_out(name):
            raise rows.value_error(i, key, 'a name inside the folder of the images')
    return names


def _leads_out(name: str) -> bool:
    """Whether the name of a file is no name inside a folder, on any system: on Windows, `C:a.jpg` is on a drive."""
    has_drive = bool(PureWindowsPath(name).drive)
    return '..' in re.split(r'[/\\]', name) or name[0] in '/\\' or has_drive or '\0' in name
