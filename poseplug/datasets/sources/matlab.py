"""An array of numbers or of structs out of a MATLAB 5 file, every length checked before it is believed.

The format is MathWorks' "MAT-File Level 5". (SciPy's reader ends the whole process on some damaged files.)
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from poseplug.errors import AnnotationError

NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
MATRIX, COMPRESSED = 14, 15
STRUCT, TEXT = 2, 4  # classes of arrays
NUMERIC_CLASSES = range(6, 16)  # double to uint64; below are cells, structures, objects, text and sparse arrays
ENCODINGS = {1: 'latin-1', 2: 'latin-1', 4: 'utf-16', 16: 'utf-8', 17: 'utf-16', 18: 'utf-32'}
HEADER = 128
LARGEST = 1 << 28  # bytes that the compressed arrays of a file may unfold to
MOST_NUMBERS = 1 << 24  # of an array
MOST_ELEMENTS = 300_000  # of an array of structs, or in a row; the largest set, FLIC-full, has 230,000
MOST_FIELDS = 64  # of a struct

Bytes = bytes | memoryview


class Array(NamedTuple):
    """An array that is still in bytes: its class, shape and name, the elements behind them, and their byte order."""

    kind: int
    shape: tuple[int, ...]
    name: str
    values: list[tuple[int, Bytes]]
    order: str

    def numbers(self) -> np.ndarray:
        """An array of numbers, in float64."""
        if self.kind not in NUMERIC_CLASSES:
            raise ValueError(f'its {self.name!r} holds no numbers')
        if len(self.values) > 2:
            raise ValueError(f'its {self.name!r} has more than a real and an imaginary part')
        kind, values = self.values[0] if self.values else (0, b'')
        if kind not in NUMBERS:
            raise ValueError(f'its {self.name!r} has an unknown type')
        numbers = np.frombuffer(values, f'{self.order}{NUMBERS[kind]}')
        if len(numbers) > MOST_NUMBERS:
            raise ValueError(f'its {self.name!r} has {len(numbers):,} numbers')
        if len(numbers) != math.prod(self.shape):
            raise ValueError(f'its {self.name!r} has {len(numbers):,} numbers for the shape {self.shape}')
        return numbers.reshape(self.shape, order='F').astype(np.float64)

    def text(self) -> str:
        """A row of characters."""
        kind, values = self.values[0] if self.values else (1, b'')
        if kind not in ENCODINGS:
            raise ValueError(f'text of an unknown type {kind}')
        encoding = ENCODINGS[kind]
        wide = encoding in ('utf-16', 'utf-32')
        return bytes(values).decode(f'{encoding}-{"le" if self.order == "<" else "be"}' if wide else encoding)

    def structs(self) -> list[dict[str, Array]]:
        """Structs in MATLAB's order, each a dict by the names of the fields; none in an empty array of any kind."""
        if self.kind != STRUCT and not math.prod(self.shape):
            return []
        if self.kind != STRUCT or len(self.values) < 2:
            raise ValueError(f'its {self.name!r} is no array of structs')
        (_, length), (_, packed), *values = self.values
        (width,) = struct.unpack(f'{self.order}i', length)
        names = bytes(packed)
        if width < 1 or not names:
            raise ValueError(f'its {self.name!r} has {len(names)} characters of field names, {width} a name')
        fields = [names[i : i + width].split(b'\0')[0].decode('latin-1') for i in range(0, len(names), width)]
        if len(values) != len(fields) * math.prod(self.shape):
            raise ValueError(f'its {self.name!r} has {len(values):,} values for {len(fields)} fields of {self.shape}')
        cells = (_array(content, self.order) for _, content in values)
        return [{name: next(cells) for name in fields} for _ in range(math.prod(self.shape))]

    def plain(self) -> Any:
        """Its text or its numbers; None for an array of another kind."""
        return self.text() if self.kind == TEXT else self.numbers() if self.kind in NUMERIC_CLASSES else None


def read_array(file: Path, name: str) -> np.ndarray:
    """The array of numbers `name` of a file, or an error that says what is wrong with the file."""
    return read_as(file, name, Array.numbers)


def read_structs(file: Path, name: str) -> list[dict[str, Any]]:
    """The array of structs `name` of a file as a list of dicts: numbers are arrays, text is a string.

    A field of another kind (a cell, a struct within) is None.
    """
    return read_as(file, name, lambda a: [{n: field.plain() for n, field in one.items()} for one in a.structs()])


def read_as(file: Path, name: str, convert: Callable[[Array], Any]) -> Any:
    """What `convert` makes of the array of that name, or an error that says what is wrong with the file.

    A ValueError of `convert` is one of the file.
    """
    try:
        data = memoryview(file.read_bytes())
        order = _byte_order(data)
        found = {}
        room = LARGEST
        for kind, content in _elements(data[HEADER:], order):
            if kind == COMPRESSED:
                unfolded = _unfolded(content, room)
                room -= len(unfolded)
                kind, content = next(_elements(memoryview(unfolded), order))
            if kind == MATRIX and (array := _array(content, order)).name == name:
                found[name] = convert(array)
    except (OSError, ValueError, struct.error, zlib.error, StopIteration, IndexError) as error:
        raise AnnotationError(
            f'{file} is not a readable MATLAB 5 file ({error or "it ends early"}); take it anew from its archive'
        ) from error
    if name not in found:
        raise AnnotationError(f"{file} has no array '{name}'; take it anew from the data set's archive")
    return found[name]


def _byte_order(data: Bytes) -> str:
    """'<' or '>' from the header's mark."""
    marks = {b'\x00\x01IM': '<', b'\x01\x00MI': '>'}
    mark = bytes(data[HEADER - 4 : HEADER])
    if mark not in marks:
        raise ValueError('it does not begin as one')
    return marks[mark]


def _elements(data: Bytes, order: str) -> Iterator[tuple[int, Bytes]]:
    """Type and content of the elements in a row; short ones share the tag's 8 bytes, compressed ones end anywhere."""
    place = count = 0
    while place < len(data):
        count += 1
        if count > MOST_ELEMENTS:
            raise ValueError(f'more than {MOST_ELEMENTS:,} elements in a row')
        kind, size = struct.unpack_from(f'{order}II', data, place)
        begin = place + 8
        if kind >> 16:
            kind, size, begin = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError(f'a short element of {size} bytes')
        if begin + size > len(data):
            raise ValueError(f'{begin + size - len(data):,} bytes are missing at its end')
        yield kind, data[begin : begin + size]
        end = place + 8 if begin == place + 4 else begin + size
        place = end if kind == COMPRESSED else end + -end % 8


def _unfolded(content: Bytes, room: int) -> bytes:
    """What was compressed, of at most `room` bytes."""
    reader = zlib.decompressobj()
    data = reader.decompress(content, max(room, 1))
    if not reader.eof:
        raise ValueError('its compressed part is cut, or too large')
    return data


def _array(content: Bytes, order: str) -> Array:
    """The array of one matrix element; one without content is the empty array of numbers."""
    if not content:
        return Array(NUMERIC_CLASSES[0], (0, 0), '', [(9, b'')], order)
    elements = _elements(content, order)
    (_, flags), (_, dimensions), (_, name) = islice(elements, 3)
    shape = struct.unpack(f'{order}{len(dimensions) // 4}i', dimensions)
    if min(shape, default=-1) < 0:
        raise ValueError(f'an array of shape {shape}')
    kind, title = flags[0 if order == '<' else 3], bytes(name).decode('latin-1')
    structs = math.prod(shape) if kind == STRUCT else 0
    if structs > MOST_ELEMENTS:
        raise ValueError(f'its {title!r} has {structs:,} structs')
    return Array(kind, shape, title, [*islice(elements, 3 + structs * MOST_FIELDS)], order)
