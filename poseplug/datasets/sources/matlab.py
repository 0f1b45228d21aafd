"""One array of numbers out of a MATLAB 5 file, every length checked before it is believed.

The format is MathWorks' "MAT-File Level 5". (SciPy's reader ends the whole process on some damaged files.)
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poseplug.errors import AnnotationError

NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
MATRIX, COMPRESSED = 14, 15
NUMERIC_CLASSES = range(6, 16)  # double to uint64; below are cells, structures, objects, text and sparse arrays
HEADER = 128
LARGEST = 1 << 28  # bytes that a compressed array may unfold to


def read_array(file: Path, name: str) -> np.ndarray:
    """The array `name` of a file, or an error that says what is wrong with the file."""
    try:
        data = file.read_bytes()
        order = _byte_order(data)
        found = {}
        for kind, content in _elements(data[HEADER:], order):
            if kind == COMPRESSED:
                kind, content = next(_elements(_unfolded(content), order))
            if kind == MATRIX:
                found.update(_matrix(content, order, name))
    except (OSError, ValueError, struct.error, zlib.error, StopIteration) as error:
        raise AnnotationError(
            f'{file} is not a readable MATLAB 5 file ({error or "it ends early"}); take it anew from its archive'
        ) from error
    if name not in found:
        raise AnnotationError(f"{file} has no array '{name}'; take it anew from the data set's archive")
    return found[name]


def _byte_order(data: bytes) -> str:
    """'<' or '>' from the header's mark."""
    marks = {b'\x00\x01IM': '<', b'\x01\x00MI': '>'}
    if data[HEADER - 4 : HEADER] not in marks:
        raise ValueError('it does not begin as one')
    return marks[data[HEADER - 4 : HEADER]]


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements in a row; short ones share the tag's 8 bytes, compressed ones end anywhere."""
    place = 0
    while place < len(data):
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


def _unfolded(content: bytes) -> bytes:
    reader = zlib.decompressobj()
    data = reader.decompress(content, LARGEST)
    if not reader.eof:
        raise ValueError('its compressed part is cut, or too large')
    return data


def _matrix(content: bytes, order: str, wanted: str) -> dict[str, np.ndarray]:
    """The array of one matrix element by its name, if that is the wanted one."""
    parts = _elements(content, order)
    flags, dimensions, name = (next(parts)[1] for _ in range(3))
    if name.decode('latin-1') != wanted:
        return {}
    if flags[0 if order == '<' else 3] not in NUMERIC_CLASSES:
        raise ValueError(f"its '{wanted}' holds no numbers")
    shape = struct.unpack(f'{order}{len(dimensions) // 4}i', dimensions)
    kind, values = next(parts)
    if kind not in NUMBERS or min(shape, default=-1) < 0:
        raise ValueError(f"its '{wanted}' has an unknown type or shape")
    numbers = np.frombuffer(values, f'{order}{NUMBERS[kind]}')
    if len(numbers) != math.prod(shape):
        raise ValueError(f"its '{wanted}' has {len(numbers):,} numbers for the shape {shape}")
    return {wanted: numbers.reshape(shape, order='F').astype(np.float64)}
