"""The door of JSON annotation files: what is not a row of finite numbers of the right length never gets past it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from poseplug.datasets.sources.base import check_images
from poseplug.errors import AnnotationError

LARGEST = 1e7  # px: beyond it a number is no position in a picture
LARGEST_WHOLE = 1 << 53  # of ids: what every program that writes JSON can hold
ANEW = 'Correct the file or take it anew from its archive'
ABSENT = object()


def read_json(file: Path) -> Any:
    """What a JSON file holds, or an error that says why it cannot be read."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise AnnotationError(f'{file}: {error.strerror or error}; restore the file') from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{file} is not a readable JSON file ({error}); take it anew from its archive') from error


@dataclass(frozen=True)
class Rows:
    """A list of JSON objects, read a column at a time; `what` one of them is, `known_by` the key that names it."""

    file: Path
    what: str
    items: Sequence[dict[str, Any]]
    known_by: str = 'id'

    @classmethod
    def of(cls, file: Path, content: Any, what: str, known_by: str = 'id') -> Rows:
        """The rows of a list, or an error that says what stands there instead."""
        if not isinstance(content, list):
            raise AnnotationError(
                f'{file}: each {what} is an entry of a list; found {told(content)}. This is another file'
            )
        for i, item in enumerate(content):
            if not isinstance(item, dict):
                raise AnnotationError(f'{file}: {what} {i + 1} is an object with names; found {told(item)}. {ANEW}')
        return cls(file, what, content, known_by)

    def __len__(self) -> int:
        return len(self.items)

    def name(self, i: int) -> str:
        """How messages call a row: its place from 1, and its id."""
        value = self.items[i].get(self.known_by)
        return f'{self.what} {i + 1}' + ('' if value is None else f' ({self.known_by} {told(value)})')

    def wrong(self, i: int, key: str, wanted: str) -> AnnotationError:
        """The error of a value that is not what it should be."""
        found = told(self.items[i].get(key, ABSENT))
        return AnnotationError(f'{self.file}: {self.name(i)}: {key} is {wanted}; found {found}. {ANEW}')

    def has(self, key: str) -> np.ndarray:
        """(n,) which rows have a key."""
        return np.array([key in item for item in self.items], dtype=bool)

    def lists(self, key: str, width: int, wanted: str, default: list[float] | None = None) -> np.ndarray:
        """(n, width) float64: lists of `width` finite numbers; `default` where the key is absent."""
        return self._numbers(key, [item.get(key, default) for item in self.items], width, wanted, LARGEST)

    def numbers(self, key: str, wanted: str, default: float | None = None, most: float = LARGEST) -> np.ndarray:
        """(n,) float64: finite numbers; `default` where the key is absent."""
        return self._numbers(key, [[item.get(key, default)] for item in self.items], 1, wanted, most)[:, 0]

    def _numbers(self, key: str, rows: list[Any], width: int, wanted: str, most: float) -> np.ndarray:
        if all(type(row) is list and len(row) == width for row in rows) and (
            set(map(type, chain.from_iterable(rows))) <= {int, float}
        ):
            try:
                found = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width).reshape(-1, width)
            except OverflowError:  # a whole number beyond every float
                found = np.full((1, 1), np.inf)
            if (np.abs(found) <= most).all():
                return found
        raise self.wrong(next(i for i, row in enumerate(rows) if not is_row(row, width, most)), key, wanted)

    def wholes(self, key: str, wanted: str = 'a whole number', default: int | None = None) -> np.ndarray:
        """(n,) int64; `default` where the key is absent."""
        values = [item.get(key, default) for item in self.items]
        self._each(key, values, lambda v: type(v) is int and abs(v) < LARGEST_WHOLE, wanted)
        return np.array(values, dtype=np.int64)

    def texts(self, key: str, wanted: str) -> list[str]:
        """(n,) strings that are not empty."""
        values = [item.get(key) for item in self.items]
        self._each(key, values, lambda v: type(v) is str and v != '', wanted)
        return [str(v) for v in values]

    def distinct(self, key: str, values: Sequence[Any] | np.ndarray) -> None:
        """An error where two rows have the same value."""
        first: dict[Any, int] = {}
        for i, value in enumerate(values):
            if first.setdefault(value, i) != i:
                raise self.wrong(i, key, f'different from that of {self.what} {first[value] + 1}')

    def _each(self, key: str, values: list[Any], good: Callable[[Any], bool], wanted: str) -> None:
        for i, value in enumerate(values):
            if not good(value):
                raise self.wrong(i, key, wanted)


def is_row(row: Any, width: int, most: float) -> bool:
    """Whether a value is a list of `width` finite numbers, none beyond `most`."""
    return type(row) is list and len(row) == width and all(type(v) in (int, float) and abs(v) <= most for v in row)


def flattened(value: Any) -> Any:
    """A list of pairs as one list; anything else as it is."""
    pairs = isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value)
    return [*chain.from_iterable(value)] if pairs else value


def told(value: Any) -> str:
    """A JSON value for an error message, in a few words."""
    if value is ABSENT:
        return 'nothing'
    try:
        return shortened(value)
    except RecursionError:
        return 'lists within lists'


def shortened(value: Any) -> str:
    """The first part of a JSON value as it is written."""
    if isinstance(value, list) and len(value) > 8:
        return f'a list of {len(value)}: {shortened(value[:6])[:-1]}, ...]' if len(str(value[:6])) < 80 else 'a list'
    if isinstance(value, dict):
        return f'an object with {", ".join(map(ascii, [*value][:6])) or "nothing in it"}'
    text = ascii(value) if isinstance(value, str | float | int | list | None) else type(value).__name__
    return text if len(text) < 80 else f'{text[:76]}...'


def check_names(rows: Rows, key: str) -> list[str]:
    """The names of picture files in a column, which never lead out of the folder of the pictures."""
    names = rows.texts(key, 'the name of a picture in its folder')
    for i, name in enumerate(names):
        windows = PureWindowsPath(name)
        if '..' in re.split(r'[/\\]', name) or name[0] in '/\\' or windows.drive or '\0' in name:
            raise rows.wrong(i, key, 'a name inside the folder of the pictures, no other place')
    return names


def find_pictures(folder: Path, names: Sequence[str], missing: str, file: Path) -> np.ndarray:
    """(n,) which pictures are there, by one look at each folder; a link that leads out of `folder` is an error."""
    there = np.zeros(len(names), dtype=bool)
    parents = np.array([os.path.dirname(name) for name in names], dtype=object)
    for parent in dict.fromkeys(parents):
        rows = np.flatnonzero(parents == parent).tolist()
        there[rows] = check_images(folder / parent, [os.path.basename(names[i]) for i in rows], missing, file)
    linked = [*filter(None, dict.fromkeys(parents)), *(n for n, found in zip(names, there, strict=True) if found)]
    root = os.path.realpath(folder)
    for name in linked:
        path = os.path.join(folder, name)
        if os.path.islink(path) and os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise AnnotationError(
                f'{file}: {name} is a link that leads out of {folder}, to {os.path.realpath(path)}. Put the picture '
                f'there itself, or name the folder that it is in as the folder of the pictures'
            )
    return there
