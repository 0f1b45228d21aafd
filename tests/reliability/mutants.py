"""Damaged files that keep the structure of their format, so that they pass a reader's first check."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from poseplug.files.matlab import MAX_MATLAB_ELEMENTS

Rng = np.random.Generator
STRANGE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 0.5, -0.0, 1e-320, 1e7, 1.1e7, 1e30, 1e39, 1e308, -1e308, 2**31, 2**53, 2**63,
    -(2**63), 2**64, 10**400, float('nan'), float('inf'), float('-inf'), '', 'nan', '1', 'person', 'a.jpg', '../a.jpg',
    '/etc/passwd', 'C:\\a.jpg', 'a\0.jpg', '\ud800', '\u202e', 'x' * 5000, [], {}, [[]], [None], [[1, 2], [3]],
    [1] * 51,
)  # fmt: skip
DOUBLES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 2.0, -1.0, 0.5, 1e7, -1e30, 1e39, 1e300, 1.8e308, 5e-324, 2.0**31)
WORDS = (0, 1, 2, 4, 5, 6, 7, 8, 9, 14, 15, 16, 255, 1 << 16, 0x00040001, 0x00050001, 1 << 30, 1 << 31, (1 << 32) - 1)
MATRIX, COMPRESSED, DOUBLE, STRUCT = 14, 15, 9, 2
HEADER_BYTES = 128


def pick(rng: Rng, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


# --- JSON -------------------------------------------------------------------------------------------------------------


def mutate_json(content: Any, rng: Rng) -> bytes:
    """A JSON file with one to three changes of its values or containers and, one time in five, of its bytes."""
    mutant = copy.deepcopy(content)
    for _ in range(rng.integers(1, 4)):
        change_somewhere(mutant, rng)
    text = json.dumps(mutant).encode()
    return damage_text(text, rng) if rng.random() < 0.2 else text


def change_somewhere(value: Any, rng: Rng) -> None:
    """Change an entry at a random depth of a list or an object."""
    keys = [*range(len(value))] if isinstance(value, list) else [*value]
    if not keys:
        return
    key = pick(rng, keys)
    if isinstance(value[key], list | dict) and rng.random() < 0.8:
        change_somewhere(value[key], rng)
    else:
        pick(rng, JSON_CHANGES)(value, key, rng)


def replace_value(value: Any, key: Any, rng: Rng) -> None:
    value[key] = copy.deepcopy(pick(rng, STRANGE_VALUES))


def remove_value(value: Any, key: Any, rng: Rng) -> None:
    del value[key]


def repeat_value(value: Any, key: Any, rng: Rng) -> None:
    """Insert a copy into a list, or under another name into an object."""
    duplicate = copy.deepcopy(value[key])
    if isinstance(value, list):
        value.insert(int(rng.integers(len(value) + 1)), duplicate)
    else:
        value[str(pick(rng, STRANGE_VALUES))[:9]] = duplicate


def wrap_value(value: Any, key: Any, rng: Rng) -> None:
    value[key] = pick(rng, (lambda v: [v], lambda v: {'id': v}, str, lambda v: [v] * 3))(value[key])


def rescale_value(value: Any, key: Any, rng: Rng) -> None:
    """Scale and shift a number; exchange another entry of a list with a random one."""
    if isinstance(value[key], int | float) and abs(value[key]) < 1e300:
        value[key] = value[key] * pick(rng, (-1, 0.5, 1e3, 1e9, 1e300)) + pick(rng, (0, 0.25, -1))
    elif isinstance(value, list):
        other = int(rng.integers(len(value)))
        value[key], value[other] = value[other], value[key]


JSON_CHANGES: tuple[Callable[[Any, Any, Rng], None], ...] = (
    *(replace_value,) * 3,
    remove_value,
    repeat_value,
    wrap_value,
    rescale_value,
)


def damage_text(text: bytes, rng: Rng) -> bytes:
    """The text cut, with other bytes, a byte order mark, another literal, or deep nesting."""
    position = int(rng.integers(len(text)))
    depth = int(rng.integers(1, 1100))
    value = pick(rng, (b'0', b'1', b'2', b'null'))
    other = pick(rng, (b'NaN', b'-Infinity', b'1e999', b'9' * 5000))
    changes = (  # functions, so that only the chosen one draws numbers
        lambda: text[:position],
        lambda: (
            text[:position] + bytes(rng.integers(0, 256, rng.integers(1, 9), dtype=np.uint8)) + text[position + 1 :]
        ),
        lambda: b'\xef\xbb\xbf' + text,
        lambda: text.decode().encode(pick(rng, ('utf-16', 'utf-32', 'utf-8'))),
        lambda: text.replace(value, other, 1),
        lambda: text.replace(b'[', b'[' * depth, 1).replace(b']', b']' * depth, 1),
        lambda: b'[' * depth + text + b']' * depth,
        lambda: text.replace(b'1', b'[' * depth + b']' * depth, 1),
        lambda: text + text[:position],
    )
    return pick(rng, changes)()


# --- MATLAB 5 ---------------------------------------------------------------------------------------------------------


def mutate_matlab(data: bytes, rng: Rng) -> bytes:
    """A little-endian file with one to three changes of tags, numbers or elements, sometimes compressed after that."""
    mutant = data
    for _ in range(rng.integers(1, 4)):
        mutant = pick(rng, MATLAB_CHANGES)(mutant, rng)
        if len(mutant) < HEADER_BYTES:
            return mutant
    if rng.random() < 0.4:
        mutant = compress_content(mutant, rng)
    return mutant if rng.random() < 0.9 else damage_bytes(mutant, rng)


def list_tags(
    data: bytes, start: int = HEADER_BYTES, stop: int | None = None, depth: int = 0
) -> list[tuple[int, int, int]]:
    """(offset, type, size) of the elements of a file, also of those within matrices; short elements are skipped."""
    tags: list[tuple[int, int, int]] = []
    stop = len(data) if stop is None else stop
    while start + 8 <= stop:
        kind, size = struct.unpack_from('<II', data, start)
        if kind >> 16:
            start += 8
            continue
        end = start + 8 + size
        if end > stop:
            break
        tags.append((start, kind, size))
        if kind == MATRIX and depth < 12:
            tags += list_tags(data, start + 8, end, depth + 1)
        start = end + -end % 8
    return tags


def change_tag(data: bytes, rng: Rng) -> bytes:
    """Write another type or another size into a tag."""
    offset = pick(rng, list_tags(data) or [(0, 0, 0)])[0] + 4 * int(rng.integers(2))
    return write_word(data, offset, pick(rng, WORDS))


def change_size(data: bytes, rng: Rng) -> bytes:
    """Change a size by a few bytes."""
    offset, _, size = pick(rng, list_tags(data) or [(0, 0, 0)])
    return write_word(data, offset + 4, max(0, size + pick(rng, (-8, -4, -1, 1, 4, 8))))


def change_word(data: bytes, rng: Rng) -> bytes:
    """Write another word into the content of an element: a dimension, a class, a length."""
    small = [tag for tag in list_tags(data) if 4 <= tag[2] <= 16] or [(0, 0, 4)]
    offset, _, size = pick(rng, small)
    word_offset = offset + 8 + 4 * int(rng.integers(max(1, size // 4)))
    return write_word(data, word_offset, pick(rng, WORDS))


def change_number(data: bytes, rng: Rng) -> bytes:
    """Write another number over one of the doubles."""
    doubles = [tag for tag in list_tags(data) if tag[1] == DOUBLE and tag[2] >= 8]
    if not doubles:
        return damage_bytes(data, rng)
    offset, _, size = pick(rng, doubles)
    number_offset = offset + 8 + 8 * int(rng.integers(size // 8))
    return data[:number_offset] + struct.pack('<d', pick(rng, DOUBLES)) + data[number_offset + 8 :]


def remove_or_repeat_element(data: bytes, rng: Rng) -> bytes:
    """Remove or repeats an element; the sizes of the matrices around it are left, or corrected."""
    tags = list_tags(data)
    if not tags:
        return data
    offset, _, size = pick(rng, tags)
    end = offset + 8 + size + -size % 8
    element = data[offset:end]
    mutant = data[:offset] + element * pick(rng, (0, 2)) + data[end:]
    if rng.random() < 0.7:
        for matrix_offset, kind, length in tags:
            if kind == MATRIX and matrix_offset < offset < matrix_offset + 8 + length:
                mutant = write_word(mutant, matrix_offset + 4, length + len(mutant) - len(data))
    return mutant


def damage_bytes(data: bytes, rng: Rng) -> bytes:
    """Cut the data, or replaces a few of its bytes."""
    if rng.random() < 0.3:
        return data[: int(rng.integers(len(data) + 1))]
    damaged = bytearray(data)
    for position in rng.integers(0, max(1, len(data)), rng.integers(1, 12)):
        damaged[position : position + 1] = bytes([rng.integers(256)])
    return bytes(damaged)


MATLAB_CHANGES = (change_number,) * 7 + (
    change_tag,
    change_size,
    change_word,
    remove_or_repeat_element,
    damage_bytes,
)


def write_word(data: bytes, offset: int, word: int) -> bytes:
    """The data with a 32-bit word at an offset."""
    return data[:offset] + struct.pack('<I', word & 0xFFFFFFFF) + data[offset + 4 :]


def compress_content(data: bytes, rng: Rng) -> bytes:
    """Compress all after the header as one element, sometimes damaged."""
    content = zlib.compress(data[HEADER_BYTES:], 1)
    content = damage_bytes(content, rng) if rng.random() < 0.1 else content
    return data[:HEADER_BYTES] + struct.pack('<II', COMPRESSED, len(content)) + content


@cache
def build_matlab_bombs(name: str, kind: int) -> list[bytes]:
    """Small files with large content.

    They hold 200 million numbers, 25 million elements of one struct, of as many structs as may be read, and many large
    arrays.
    """
    zeros = bytes(200_000_000)
    header = b'MATLAB 5.0 MAT-file'.ljust(HEADER_BYTES - 4) + b'\x00\x01IM'
    numbers = compress_element(build_matrix(6, name, [(2, zeros)]))
    fields = [(5, struct.pack('<i', 8)), (1, b'field'.ljust(8, b'\0'))]
    structs = []
    for count in (1, MAX_MATLAB_ELEMENTS):
        structs.append(compress_element(build_matrix(kind, name, [*fields, (0, b'')], zeros, count)))
    others = compress_element(build_matrix(6, 'other', [(2, zeros)])) * 8
    return [header + content for content in (numbers, *structs, others)]


def build_matrix(kind: int, name: str, values: list[tuple[int, bytes]], rest: bytes = b'', count: int = 0) -> bytes:
    """A matrix element of a class with values, then `rest`, which declares to have `count` elements."""
    count = count or len(values[-1][1]) or 1
    parts = [(6, struct.pack('<II', kind, 0)), (5, struct.pack('<ii', 1, count)), (1, name.encode()), *values]
    elements = [struct.pack('<II', t, len(value)) + value + bytes(-len(value) % 8) for t, value in parts]
    content = b''.join(elements) + rest
    return struct.pack('<II', MATRIX, len(content)) + content


def compress_element(element: bytes) -> bytes:
    """A compressed element."""
    content = zlib.compress(element, 1)
    return struct.pack('<II', COMPRESSED, len(content)) + content
