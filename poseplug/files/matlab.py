"""Reads an array of numbers or of structs from a MATLAB 5 file; every length is checked before it is used.

The format is MathWorks' "MAT-File Level 5". SciPy's reader is not used: it ends the whole process, by a segmentation
fault, on some damaged files (3 of 150 copies of a small file with one to four random bytes).
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

from poseplug.core.errors import AnnotationError

# Element types of numbers, of text and of arrays, as the format numbers them
_NUMERIC_TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_TEXT_ENCODINGS = {1: 'latin-1', 2: 'latin-1', 4: 'utf-16', 16: 'utf-8', 17: 'utf-16', 18: 'utf-32'}
_MATRIX_ELEMENT, _COMPRESSED_ELEMENT = 14, 15
# Classes of arrays; below 6 are cells, structs, objects, text and sparse arrays, from 6 on double to uint64
_STRUCT_CLASS, _CHAR_CLASS = 2, 4
_NUMERIC_CLASSES = range(6, 16)
_HEADER_BYTES = 128
# Limits that a small damaged file cannot exceed by stating large numbers
_MAX_DECOMPRESSED_BYTES = 1 << 28  # of all compressed arrays of a file together
_MAX_ARRAY_SIZE = 1 << 24  # numbers in an array
MAX_MATLAB_ELEMENTS = 300_000  # in an array of structs, or in a row; the largest data set, FLIC-full, has 230,000
_MAX_STRUCT_FIELDS = 64

_Buffer = bytes | memoryview


class MatlabArray(NamedTuple):
    """An array whose content is still in bytes. Its methods raise a ValueError for what they cannot convert.

    Attributes:
        array_class: the class of the array, as the format numbers it.
        shape: its dimensions.
        name: its name; empty within a struct.
        elements: type and content of the elements after the name.
        byte_order: '<' or '>'.
    """

    array_class: int
    shape: tuple[int, ...]
    name: str
    elements: list[tuple[int, _Buffer]]
    byte_order: str

    def to_numbers(self) -> np.ndarray:
        """Convert an array of numbers to float64; an imaginary part is ignored.

        Raises:
            ValueError: the array holds no numbers, or another number of them than its shape says.
        """
        if self.array_class not in _NUMERIC_CLASSES:
            raise ValueError(f'its {self.name!r} holds no numbers')
        if len(self.elements) > 2:
            raise ValueError(f'its {self.name!r} has more than a real and an imaginary part')
        element_type, content = self.elements[0] if self.elements else (0, b'')
        if element_type not in _NUMERIC_TYPES:
            raise ValueError(f'its {self.name!r} has an unknown type')
        numbers = np.frombuffer(content, f'{self.byte_order}{_NUMERIC_TYPES[element_type]}')
        if len(numbers) > _MAX_ARRAY_SIZE:
            raise ValueError(f'its {self.name!r} has {len(numbers):,} numbers')
        if len(numbers) != math.prod(self.shape):
            raise ValueError(f'its {self.name!r} has {len(numbers):,} numbers for the shape {self.shape}')
        # MATLAB stores columns first.
        return numbers.reshape(self.shape, order='F').astype(np.float64)

    def to_text(self) -> str:
        """Convert a row of characters to a string.

        Raises:
            ValueError: the characters have an unknown type or encoding.
        """
        element_type, content = self.elements[0] if self.elements else (1, b'')
        if element_type not in _TEXT_ENCODINGS:
            raise ValueError(f'text of an unknown type {element_type}')
        encoding = _TEXT_ENCODINGS[element_type]
        if encoding in ('utf-16', 'utf-32'):
            encoding += '-le' if self.byte_order == '<' else '-be'
        return bytes(content).decode(encoding)

    def to_structs(self) -> list[dict[str, MatlabArray]]:
        """Convert an array of structs to dicts by the names of the fields, in MATLAB's order (columns first).

        Returns:
            The structs; none for an empty array of any class.

        Raises:
            ValueError: the array holds no structs, or its field names or values are incomplete.
        """
        count = math.prod(self.shape)
        if self.array_class != _STRUCT_CLASS and not count:
            return []
        if self.array_class != _STRUCT_CLASS or len(self.elements) < 2:
            raise ValueError(f'its {self.name!r} is no array of structs')
        (_, name_length), (_, packed_names), *values = self.elements
        # All names are padded with zeros to one width and stored as one text.
        (width,) = struct.unpack(f'{self.byte_order}i', name_length)
        names = bytes(packed_names)
        if width < 1 or not names:
            raise ValueError(f'its {self.name!r} has {len(names)} characters of field names, {width} per name')
        fields = [names[i : i + width].split(b'\0')[0].decode('latin-1') for i in range(0, len(names), width)]
        if len(values) != len(fields) * count:
            raise ValueError(f'its {self.name!r} has {len(values):,} values for {len(fields)} fields of {self.shape}')
        # Struct by struct, and the fields of each in the order of the names.
        arrays = (_parse_array(content, self.byte_order) for _, content in values)
        return [{name: next(arrays) for name in fields} for _ in range(count)]

    def to_python(self) -> Any:
        """Convert text to a string and numbers to an array; None for an array of another class.

        Raises:
            ValueError: the content does not fit the class.
        """
        if self.array_class == _CHAR_CLASS:
            return self.to_text()
        return self.to_numbers() if self.array_class in _NUMERIC_CLASSES else None


def read_matlab_array(file: Path, name: str) -> np.ndarray:
    """Read an array of numbers from a MATLAB 5 file.

    Args:
        file: the file, compressed or not.
        name: the name of the array.

    Returns:
        The array in float64.

    Raises:
        AnnotationError: the file cannot be read, is damaged, or has no such array.
    """
    return convert_matlab_array(file, name, MatlabArray.to_numbers)


def read_matlab_structs(file: Path, name: str) -> list[dict[str, Any]]:
    """Read an array of structs from a MATLAB 5 file.

    Args:
        file: the file, compressed or not.
        name: the name of the array.

    Returns:
        One dict per struct: numbers are arrays, text is a string; a field of another kind (a cell, a struct) is None.

    Raises:
        AnnotationError: the file cannot be read, is damaged, or has no such array.
    """

    def convert_structs(array: MatlabArray) -> list[dict[str, Any]]:
        return [{name: field.to_python() for name, field in one.items()} for one in array.to_structs()]

    return convert_matlab_array(file, name, convert_structs)


def convert_matlab_array(file: Path, name: str, convert: Callable[[MatlabArray], Any]) -> Any:
    """Read an array from a MATLAB 5 file and convert it.

    Args:
        file: the file, compressed or not.
        name: the name of the array.
        convert: a function of the array; a ValueError that it raises counts as damage of the file.

    Returns:
        What `convert` returns.

    Raises:
        AnnotationError: the file cannot be read, is damaged, or has no such array.
    """
    try:
        data = memoryview(file.read_bytes())
        byte_order = _read_byte_order(data)
        converted = {}
        remaining_bytes = _MAX_DECOMPRESSED_BYTES
        for element_type, content in _iter_elements(data[_HEADER_BYTES:], byte_order):
            if element_type == _COMPRESSED_ELEMENT:
                decompressed = _decompress_element(content, remaining_bytes)
                remaining_bytes -= len(decompressed)
                element_type, content = next(_iter_elements(memoryview(decompressed), byte_order))
            if element_type == _MATRIX_ELEMENT and (array := _parse_array(content, byte_order)).name == name:
                converted[name] = convert(array)
    except (OSError, ValueError, struct.error, zlib.error, StopIteration, IndexError) as error:
        cause = str(error) or 'it ends early'
        raise AnnotationError(
            f'{file} is not a readable MATLAB 5 file ({cause}); take it anew from its archive'
        ) from error
    if name not in converted:
        raise AnnotationError(f"{file} has no array '{name}'; take it anew from the data set's archive")
    return converted[name]


def _read_byte_order(data: _Buffer) -> str:
    """Return '<' or '>' by the mark at the end of the header."""
    byte_orders = {b'\x00\x01IM': '<', b'\x01\x00MI': '>'}
    mark = bytes(data[_HEADER_BYTES - 4 : _HEADER_BYTES])
    if mark not in byte_orders:
        raise ValueError('it does not begin as one')
    return byte_orders[mark]


def _iter_elements(data: _Buffer, byte_order: str) -> Iterator[tuple[int, _Buffer]]:
    """Yield type and content of consecutive elements.

    A short element has its content in the 8 bytes of its tag. Elements are padded to 8 bytes, except compressed ones.
    """
    offset = count = 0
    while offset < len(data):
        count += 1
        if count > MAX_MATLAB_ELEMENTS:
            raise ValueError(f'more than {MAX_MATLAB_ELEMENTS:,} elements in a row')
        element_type, size = struct.unpack_from(f'{byte_order}II', data, offset)
        # The upper 16 bits of the type are 0 unless they are the length of a short element.
        is_short = bool(element_type >> 16)
        begin = offset + (4 if is_short else 8)
        if is_short:
            element_type, size = element_type & 0xFFFF, element_type >> 16
            if size > 4:
                raise ValueError(f'a short element of {size} bytes')
        if begin + size > len(data):
            raise ValueError(f'{begin + size - len(data):,} bytes are missing at its end')
        yield element_type, data[begin : begin + size]
        end = offset + 8 if is_short else begin + size
        offset = end if element_type == _COMPRESSED_ELEMENT else end + -end % 8


def _decompress_element(content: _Buffer, max_bytes: int) -> bytes:
    """Decompress an element; more than `max_bytes` is a ValueError, raised before they are in memory."""
    decompressor = zlib.decompressobj()
    data = decompressor.decompress(content, max(max_bytes, 1))
    if not decompressor.eof:
        raise ValueError('its compressed part is cut, or too large')
    return data


def _parse_array(content: _Buffer, byte_order: str) -> MatlabArray:
    """Parse the content of a matrix element; without content it is the empty array of numbers."""
    if not content:
        return MatlabArray(_NUMERIC_CLASSES[0], (0, 0), '', [(9, b'')], byte_order)
    elements = _iter_elements(content, byte_order)
    (_, flags), (_, dimensions), (_, packed_name) = islice(elements, 3)
    shape = struct.unpack(f'{byte_order}{len(dimensions) // 4}i', dimensions)
    if min(shape, default=-1) < 0:
        raise ValueError(f'an array of shape {shape}')
    # The class is the low byte of the first flag word.
    array_class, name = flags[0 if byte_order == '<' else 3], bytes(packed_name).decode('latin-1')
    num_structs = math.prod(shape) if array_class == _STRUCT_CLASS else 0
    if num_structs > MAX_MATLAB_ELEMENTS:
        raise ValueError(f'its {name!r} has {num_structs:,} structs')
    max_elements = 3 + num_structs * _MAX_STRUCT_FIELDS
    return MatlabArray(array_class, shape, name, [*islice(elements, max_elements)], byte_order)
