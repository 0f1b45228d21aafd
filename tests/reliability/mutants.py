"""Spoiled files that keep a format's structure, so that they get past a reader's first check; all from one seed."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from poseplug.datasets.sources.matlab import MOST_ELEMENTS

Rng = np.random.Generator
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 0.5, -0.0, 1e-320, 1e7, 1.1e7, 1e30, 1e39, 1e308, -1e308, 2**31, 2**53, 2**63,
    -(2**63), 2**64, 10**400, float('nan'), float('inf'), float('-inf'), '', 'nan', '1', 'person', 'a.jpg', '../a.jpg',
    '/etc/passwd', 'C:\\a.jpg', 'a\0.jpg', '\ud800', '\u202e', 'x' * 5000, [], {}, [[]], [None], [[1, 2], [3]],
    [1] * 51,
)  # fmt: skip
DOUBLES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 2.0, -1.0, 0.5, 1e7, -1e30, 1e39, 1e300, 1.8e308, 5e-324, 2.0**31)
WORDS = (0, 1, 2, 4, 5, 6, 7, 8, 9, 14, 15, 16, 255, 1 << 16, 0x00040001, 0x00050001, 1 << 30, 1 << 31, (1 << 32) - 1)
MATRIX, COMPRESSED, DOUBLE, STRUCT = 14, 15, 9, 2
HEADER = 128


def pick(rng: Rng, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_mutant(content: Any, rng: Rng) -> bytes:
    """A JSON file with one to three changes of its values, of what holds them, or, one time in five, of its bytes."""
    made = copy.deepcopy(content)
    for _ in range(rng.integers(1, 4)):
        change(made, rng)
    text = json.dumps(made).encode()
    return spoiled_text(text, rng) if rng.random() < 0.2 else text


def change(value: Any, rng: Rng) -> None:
    """Change something at a random depth of a list or an object."""
    keys = [*range(len(value))] if isinstance(value, list) else [*value]
    if not keys:
        return
    key = pick(rng, keys)
    if isinstance(value[key], list | dict) and rng.random() < 0.8:
        change(value[key], rng)
    else:
        pick(rng, CHANGES)(value, key, rng)


def replace(value: Any, key: Any, rng: Rng) -> None:
    value[key] = copy.deepcopy(pick(rng, STRANGE))


def remove(value: Any, key: Any, rng: Rng) -> None:
    del value[key]


def repeat(value: Any, key: Any, rng: Rng) -> None:
    """Once more in a list; under another name in an object."""
    again = copy.deepcopy(value[key])
    if isinstance(value, list):
        value.insert(int(rng.integers(len(value) + 1)), again)
    else:
        value[str(pick(rng, STRANGE))[:9]] = again


def wrap(value: Any, key: Any, rng: Rng) -> None:
    value[key] = pick(rng, (lambda v: [v], lambda v: {'id': v}, str, lambda v: [v] * 3))(value[key])


def rescale(value: Any, key: Any, rng: Rng) -> None:
    """Another number in the place of a number; anything else is swapped with a neighbour of its own kind."""
    if isinstance(value[key], int | float) and abs(value[key]) < 1e300:
        value[key] = value[key] * pick(rng, (-1, 0.5, 1e3, 1e9, 1e300)) + pick(rng, (0, 0.25, -1))
    elif isinstance(value, list):
        other = int(rng.integers(len(value)))
        value[key], value[other] = value[other], value[key]


CHANGES: tuple[Callable[[Any, Any, Rng], None], ...] = (replace, replace, replace, remove, repeat, wrap, rescale)


def spoiled_text(text: bytes, rng: Rng) -> bytes:
    """The text cut, with other bytes, with a mark or a literal in front of it or in it, or deeply nested."""
    place = int(rng.integers(len(text)))
    depth = int(rng.integers(1, 1100))
    value, other = pick(rng, (b'0', b'1', b'2', b'null')), pick(rng, (b'NaN', b'-Infinity', b'1e999', b'9' * 5000))
    return pick(rng, (
        lambda: text[:place],
        lambda: text[:place] + bytes(rng.integers(0, 256, rng.integers(1, 9), dtype=np.uint8)) + text[place + 1 :],
        lambda: b'\xef\xbb\xbf' + text,
        lambda: text.decode().encode(pick(rng, ('utf-16', 'utf-32', 'utf-8'))),
        lambda: text.replace(value, other, 1),
        lambda: text.replace(b'[', b'[' * depth, 1).replace(b']', b']' * depth, 1),
        lambda: b'[' * depth + text + b']' * depth,
        lambda: text.replace(b'1', b'[' * depth + b']' * depth, 1),
        lambda: text + text[:place],
    ))()  # fmt: skip


# --- MATLAB 5 ---------------------------------------------------------------------------------------------------------


def mat_mutant(data: bytes, rng: Rng) -> bytes:
    """A little-endian file with one to three changes of tags, numbers or elements, then perhaps compressed."""
    made = data
    for _ in range(rng.integers(1, 4)):
        made = pick(rng, MAT_CHANGES)(made, rng)
        if len(made) < HEADER:
            return made
    if rng.random() < 0.4:
        made = compressed(made, rng)
    return made if rng.random() < 0.9 else spoiled_bytes(made, rng)


def tags(data: bytes, first: int = HEADER, last: int | None = None, depth: int = 0) -> list[tuple[int, int, int]]:
    """(place, type, size) of the elements of a file, those within matrices too; short ones are left out."""
    found, last = [], len(data) if last is None else last
    while first + 8 <= last:
        kind, size = struct.unpack_from('<II', data, first)
        if kind >> 16:
            first += 8
            continue
        end = first + 8 + size
        if end > last:
            break
        found.append((first, kind, size))
        if kind == MATRIX and depth < 12:
            found += tags(data, first + 8, end, depth + 1)
        first = end + -end % 8
    return found


def other_tag(data: bytes, rng: Rng) -> bytes:
    """Another type or another size in a tag."""
    return written(data, pick(rng, tags(data) or [(0, 0, 0)])[0] + 4 * int(rng.integers(2)), pick(rng, WORDS))


def other_size(data: bytes, rng: Rng) -> bytes:
    """A size that is off by a little."""
    place, _, size = pick(rng, tags(data) or [(0, 0, 0)])
    return written(data, place + 4, max(0, size + pick(rng, (-8, -4, -1, 1, 4, 8))))


def other_word(data: bytes, rng: Rng) -> bytes:
    """Another word in what an element holds: a dimension, a class, a length."""
    small = [t for t in tags(data) if 4 <= t[2] <= 16] or [(0, 0, 4)]
    place, _, size = pick(rng, small)
    return written(data, place + 8 + 4 * int(rng.integers(max(1, size // 4))), pick(rng, WORDS))


def other_number(data: bytes, rng: Rng) -> bytes:
    """Another number among the doubles."""
    doubles = [t for t in tags(data) if t[1] == DOUBLE and t[2] >= 8]
    if not doubles:
        return spoiled_bytes(data, rng)
    place, _, size = pick(rng, doubles)
    at = place + 8 + 8 * int(rng.integers(size // 8))
    return data[:at] + struct.pack('<d', pick(rng, DOUBLES)) + data[at + 8 :]


def without_element(data: bytes, rng: Rng) -> bytes:
    """An element taken out, or put in twice; the sizes of what holds it are left as they are or put right."""
    found = tags(data)
    if not found:
        return data
    place, _, size = pick(rng, found)
    end = place + 8 + size + -size % 8
    part = data[place:end]
    made = data[:place] + part * pick(rng, (0, 2)) + data[end:]
    if rng.random() < 0.7:
        for above, kind, length in found:
            if kind == MATRIX and above < place < above + 8 + length:
                made = written(made, above + 4, length + len(made) - len(data))
    return made


def spoiled_bytes(data: bytes, rng: Rng) -> bytes:
    """A few other bytes, or an end too early."""
    if rng.random() < 0.3:
        return data[: int(rng.integers(len(data) + 1))]
    made = bytearray(data)
    for place in rng.integers(0, max(1, len(data)), rng.integers(1, 12)):
        made[place : place + 1] = bytes([rng.integers(256)])
    return bytes(made)


MAT_CHANGES = (other_number,) * 7 + (other_tag, other_size, other_word, without_element, spoiled_bytes)


def written(data: bytes, place: int, word: int) -> bytes:
    """The data with a 32-bit word at a place."""
    return data[:place] + struct.pack('<I', word & 0xFFFFFFFF) + data[place + 4 :]


def compressed(data: bytes, rng: Rng) -> bytes:
    """All that follows the header as one compressed element, at times a damaged one."""
    content = zlib.compress(data[HEADER:], 1)
    content = spoiled_bytes(content, rng) if rng.random() < 0.1 else content
    return data[:HEADER] + struct.pack('<II', COMPRESSED, len(content)) + content


@cache
def mat_bombs(name: str, kind: int) -> list[bytes]:
    """Small files that unfold to much: 200 million numbers, 25 million elements of one struct or of as many structs as
    are read, and many large arrays.
    """
    much = bytes(200_000_000)
    header = b'MATLAB 5.0 MAT-file'.ljust(HEADER - 4) + b'\x00\x01IM'
    numbers = packed(array(6, name, [(2, much)]))
    fields = [(5, struct.pack('<i', 8)), (1, b'field'.ljust(8, b'\0'))]
    elements = [packed(array(kind, name, [*fields, (0, b'')], much, count)) for count in (1, MOST_ELEMENTS)]
    others = packed(array(6, 'other', [(2, much)])) * 8
    return [header + each for each in (numbers, *elements, others)]


def array(kind: int, name: str, values: list[tuple[int, bytes]], rest: bytes = b'', count: int = 0) -> bytes:
    """A matrix element of a class with these values and `rest` behind them, of `count` elements as it says."""
    count = count or len(values[-1][1]) or 1
    parts = [(6, struct.pack('<II', kind, 0)), (5, struct.pack('<ii', 1, count)), (1, name.encode()), *values]
    content = b''.join(struct.pack('<II', t, len(v)) + v + bytes(-len(v) % 8) for t, v in parts) + rest
    return struct.pack('<II', MATRIX, len(content)) + content


def packed(element: bytes) -> bytes:
    """A compressed element."""
    content = zlib.compress(element, 1)
    return struct.pack('<II', COMPRESSED, len(content)) + content
