"""Input shapes of an ONNX file, read from its bytes without the package onnx.

The file is a Protocol Buffers message (https://protobuf.dev/programming-guides/encoding); the field numbers are those
of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MODEL_GRAPH = 7  # ModelProto
_GRAPH_INITIALIZER, _GRAPH_INPUT = 5, 11  # GraphProto
_INITIALIZER_NAME = 8  # TensorProto
_INPUT_NAME, _INPUT_TYPE = 1, 2  # ValueInfoProto
_TENSOR_TYPE, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_VALUE = 1, 2, 1, 1  # TypeProto, its Tensor, TensorShapeProto, Dimension
_WIRE_VARINT, _WIRE_FIXED64, _WIRE_LENGTH_DELIMITED, _WIRE_FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_WIRE_FIXED64: 8, _WIRE_FIXED32: 4}
_MAX_VARINT_BYTES = 10  # 64 bits, 7 in a byte


def read_input_shapes(data: bytes) -> list[tuple[int, ...]]:
    """Read the shapes of an ONNX file's inputs.

    Args:
        data: the whole file.

    Returns:
        A shape for each input that is not a weight; 0 for a dimension that may have any length.

    Raises:
        ValueError: the bytes are no ONNX file.
    """
    shapes = []
    for graph in _iter_submessages(memoryview(data), _MODEL_GRAPH):
        # Old files list their weights among the inputs as well.
        weight_names = {
            bytes(name)
            for weight in _iter_submessages(graph, _GRAPH_INITIALIZER)
            for name in _iter_submessages(weight, _INITIALIZER_NAME)
        }
        for graph_input in _iter_submessages(graph, _GRAPH_INPUT):
            if weight_names.isdisjoint(map(bytes, _iter_submessages(graph_input, _INPUT_NAME))):
                shapes.append(tuple(_read_dim_lengths(graph_input)))
    if not shapes:
        raise ValueError('no graph with an input')
    return shapes


def _read_dim_lengths(graph_input: memoryview) -> Iterator[int]:
    """The lengths of one input's dimensions, 0 for a symbolic one."""
    for input_type in _iter_submessages(graph_input, _INPUT_TYPE):
        for tensor in _iter_submessages(input_type, _TENSOR_TYPE):
            for shape in _iter_submessages(tensor, _TENSOR_SHAPE):
                for dimension in _iter_submessages(shape, _SHAPE_DIM):
                    yield _read_dim_length(dimension)


def _read_dim_length(dimension: memoryview) -> int:
    lengths = (value for number, value in _iter_fields(dimension) if number == _DIM_VALUE and isinstance(value, int))
    return next(lengths, 0)


def _iter_submessages(message: memoryview, field_number: int) -> Iterator[memoryview]:
    """The messages and strings that a message holds under a field number."""
    for number, value in _iter_fields(message):
        if number == field_number and isinstance(value, memoryview):
            yield value


def _iter_fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of a message's fields: an int for a varint, a view of the bytes for any other."""
    offset = 0
    while offset < len(message):
        key, offset = _read_varint(message, offset)
        number, wire_type = key >> 3, key & 7
        if wire_type == _WIRE_VARINT:
            value, offset = _read_varint(message, offset)
            yield number, value
            continue
        if wire_type == _WIRE_LENGTH_DELIMITED:
            size, offset = _read_varint(message, offset)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f'byte {offset - 1} begins no field')
        if offset + size > len(message):
            raise ValueError(f'a field of {size} bytes is cut off after {len(message) - offset}')
        yield number, message[offset : offset + size]
        offset += size


def _read_varint(message: memoryview, offset: int) -> tuple[int, int]:
    """A whole number of 7 bits a byte, lowest first, and the offset behind it."""
    value = 0
    for i, byte in enumerate(message[offset : offset + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, offset + i + 1
    raise ValueError(f'the number at byte {offset} has no end')
