"""Forms that exporters write in place of COCO's, read where their meaning is certain and counted.

A number as 17.0 or as text, `iscrowd` as false, an area of null, an empty box, keypoints as triples or within a further
list, NaN at a keypoint that is not labeled, one entry written twice. Each column is looked at once; only rows of
another form are changed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from poseplug.files.json_file import JsonRows

_IMAGE_INTEGERS = ('id', 'width', 'height')
_ANNOTATION_INTEGERS = ('id', 'image_id', 'category_id', 'num_keypoints', 'iscrowd')
# 18 digits always fit into 64 bits
_WHOLE_NUMBER = re.compile(r'-?[0-9]{1,18}')
_NUMBER = re.compile(r'-?[0-9]{1,18}(\.[0-9]{1,18})?')
_OPTIONAL_KEYS = ('area', 'bbox', 'iscrowd', 'num_keypoints', 'keypoints')


def repair_images(rows: JsonRows) -> tuple[JsonRows, list[str]]:
    """Convert the images or categories of a file to COCO's form, each once.

    Args:
        rows: the entries of `images` or `categories`.

    Returns:
        The rows, and a note per kind of change.
    """
    repaired, notes, num_repeated = _repair_rows(rows, [(key, _read_whole_number) for key in _IMAGE_INTEGERS])
    if num_repeated:
        notes.append(f'{num_repeated:,} of {rows.item_noun}s repeat another one of their id')
    return repaired, notes


def repair_annotations(rows: JsonRows, num_keypoints: int | None) -> tuple[JsonRows, list[str], int]:
    """Convert the annotations of a file to COCO's form, each once.

    Args:
        rows: the entries of `annotations`.
        num_keypoints: K of an instance; None where categories have different ones, and every list shows its own.

    Returns:
        The rows, a note per kind of change, and the number of rows left out because they repeat another one.
    """

    def read_keypoints(value: Any) -> tuple[Any, str]:
        return _flatten_keypoints(value, num_keypoints)

    repairs: list[_Repair] = [(key, _read_whole_number) for key in _ANNOTATION_INTEGERS]
    repairs += [(key, _read_number_texts) for key in ('area', 'bbox', 'keypoints')]
    repaired, notes, num_repeated = _repair_rows(
        rows, [*repairs, ('bbox', _unwrap_list), ('keypoints', read_keypoints)]
    )
    # Scripts leave the ids out; where some have one, the others are a fault of the file.
    if repaired.items and not any('id' in item for item in repaired.items):
        repaired = replace(repaired, items=[{'id': n, **item} for n, item in enumerate(repaired.items, 1)])
        notes.append(f'{len(repaired):,} annotations without an id: they are numbered in the order of the file')
    return repaired, notes, num_repeated


_Repair = tuple[str, Callable[[Any], tuple[Any, str]]]  # a key; the value in COCO's form, and the other form's name


def _repair_rows(rows: JsonRows, repairs: Sequence[_Repair]) -> tuple[JsonRows, list[str], int]:
    """The rows with repaired values, notes, and the number of rows left out."""
    items, counts = _drop_repeated(rows.items), Counter[str]()
    repaired_items = []
    for item in items:
        values = {key: value for key, value in item.items() if key not in _OPTIONAL_KEYS or not _is_absent(value)}
        for key in item.keys() - values.keys():
            counts[f'{key} of null, read as absent' if item[key] is None else f'an empty {key}, read as absent'] += 1
        for key, repair in repairs:
            if key in values:
                values[key], form = repair(values[key])
                counts.update([f'{key} {form}'] if form else [])
        if type(count := values.get('num_keypoints')) is int and count < 0:
            del values['num_keypoints']
            counts['num_keypoints below 0, read as absent'] += 1
        repaired_items.append(values)
    notes = [f'{count:,} {rows.item_noun}s with {form}' for form, count in sorted(counts.items())]
    return JsonRows(rows.file, rows.item_noun, repaired_items, rows.id_key), notes, len(rows) - len(items)


def _drop_repeated(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out entries that repeat another one of their id word by word; those that differ are left to be refused."""
    first: dict[Any, dict[str, Any]] = {}
    unique = []
    for item in items:
        number = item.get('id')
        known = first.setdefault(number, item) if isinstance(number, int | float | str) else item
        # one that differs stays, and the check of ids refuses it
        if known is item or known != item:
            unique.append(item)
    return unique


def _read_whole_number(value: Any) -> tuple[Any, str]:
    """A whole number that is written as 17.0, or 0 and 1 as false and true."""
    # types are compared exactly, since True is an `int` to `isinstance`
    if type(value) is float and math.isfinite(value) and value.is_integer():
        return int(value), 'as a number with a decimal point'
    if type(value) is bool:
        return int(value), 'of true or false, read as 1 or 0'
    if type(value) is str and _WHOLE_NUMBER.fullmatch(value):
        return int(value), 'as text'
    return value, ''


def _is_absent(value: Any) -> bool:
    return value is None or (type(value) is list and not value)


def _read_number_texts(value: Any) -> tuple[Any, str]:
    """A number, or a list of numbers, of which some are written as text."""
    numbers = value if type(value) is list else [value]
    if not any(type(number) is str for number in numbers):
        return value, ''
    # one text that is no number leaves all as they are: the reader then refuses what was written
    if any(type(number) is str and not _NUMBER.fullmatch(number) for number in numbers):
        return value, ''
    parsed = [float(number) if type(number) is str else number for number in numbers]
    return parsed if type(value) is list else parsed[0], 'as text'


def _unwrap_list(value: Any) -> tuple[Any, str]:
    """A list that is the only entry of another list."""
    if type(value) is list and len(value) == 1 and type(value[0]) is list:
        return value[0], 'within a further list'
    return value, ''


def _flatten_keypoints(value: Any, num_keypoints: int | None) -> tuple[Any, str]:
    """Keypoints as one flat list, where they are triples, within a further list, or not finite where not labeled."""
    form = ''
    if num_keypoints is None:
        num_keypoints = _count_listed_keypoints(value)
    # with a single keypoint, a list in a list is its triple
    if type(value) is list and len(value) == 1 and num_keypoints > 1:
        value, form = _unwrap_list(value)
    is_nested = type(value) is list and len(value) == num_keypoints and all(type(v) is list for v in value)
    if is_nested and all(len(v) == 3 for v in value):
        value, form = [number for triple in value for number in triple], 'as a list per keypoint'
    if type(value) is list and len(value) == 3 * num_keypoints:
        filled = [_fill_unlabeled(value, i) for i in range(len(value))]
        if any(a is not b for a, b in zip(filled, value, strict=True)):
            value, form = filled, 'of null or NaN where not labeled, read as 0'
    return value, form


def _count_listed_keypoints(value: Any) -> int:
    """The number of keypoints that a list has in any of these forms."""
    if type(value) is not list or not value:
        return 0
    if type(value[0]) is not list:
        return len(value) // 3
    # A list in a list is all keypoints, or the triple of the only one.
    return len(value) if len(value) > 1 else max(1, len(value[0]) // 3)


def _fill_unlabeled(values: list[Any], i: int) -> Any:
    """A number of a keypoint; 0 where it is null or NaN and the keypoint is not labeled."""
    value, flag = values[i], values[i - i % 3 + 2]
    # NaN is the one number that differs from itself
    is_missing = value is None or value != value
    return 0 if is_missing and (flag == 0 or flag is None or flag != flag) else value


def describe_keypoint_form(value: Any, num_keypoints: int) -> str:
    """Describe keypoints of another form, for an error message: what they are likely to be; '' if nothing is likely.

    Args:
        value: of the key `keypoints`.
        num_keypoints: K of an instance.
    """
    if type(value) is not list:
        return ''
    if len(value) == 2 * num_keypoints:
        return f'{2 * num_keypoints} numbers are x and y alone: the flag of each keypoint (0, 1 or 2) is missing'
    if value and all(type(v) is list for v in value):
        lengths = sorted({len(v) for v in value})
        return f'it has {len(value)} lists of {", ".join(map(str, lengths))} numbers, one per keypoint'
    is_numeric = all(type(v) in (int, float) for v in value)
    if value and is_numeric and len(value) % 3 == 0 and len(value) != 3 * num_keypoints:
        return f'these are {len(value) // 3} keypoints: name their skeleton by skeleton='
    return ''
