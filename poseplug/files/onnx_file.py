"""Inputs, outputs and metadata of an ONNX file, read from its bytes without the package onnx.

The file is a Protocol Buffers message (https://protobuf.dev/programming-guides/encoding); the field numbers are those
of onnx.proto.
"""

from __future__ import annotations

__all__ = ['ELEMENT_TYPES', 'OnnxGraphInfo', 'OnnxValueInfo', 'read_graph_info']

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_MODEL_GRAPH, _MODEL_METADATA = 7, 14  # ModelProto
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12  # GraphProto
_NODE_INPUT, _NODE_OPERATOR = 1, 4  # NodeProto
_INITIALIZER_NAME = 8  # TensorProto
_VALUE_NAME, _VALUE_TYPE = 1, 2  # ValueInfoProto
_TENSOR_TYPE, _ELEMENT_TYPE, _TENSOR_SHAPE, _SHAPE_DIM, _DIM_VALUE = 1, 1, 2, 1, 1  # TypeProto and what is in it
_ENTRY_KEY, _ENTRY_VALUE = 1, 2  # StringStringEntryProto
_WIRE_VARINT, _WIRE_FIXED64, _WIRE_LENGTH_DELIMITED, _WIRE_FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_WIRE_FIXED64: 8, _WIRE_FIXED32: 4}
_MAX_VARINT_BYTES = 10  # 64 bits, 7 in a byte

# Numbers of TensorProto.DataType and the names that NumPy has for them.
ELEMENT_TYPES = {
    1: 'float32', 2: 'uint8', 3: 'int8', 4: 'uint16', 5: 'int16', 6: 'int32', 7: 'int64', 8: 'string', 9: 'bool',
    10: 'float16', 11: 'float64', 12: 'uint32', 13: 'uint64', 16: 'bfloat16',
}  # fmt: skip


@dataclass(frozen=True)
class OnnxValueInfo:
    """An input or output of an ONNX file.

    Attributes:
        name: of the value.
        shape: 0 for a dimension that may have any length; empty if the file does not say.
        element_type: NumPy's name, such as 'float32'.
    """

    name: str
    shape: tuple[int, ...]
    element_type: str


@dataclass(frozen=True)
class OnnxGraphInfo:
    """Inputs, outputs and metadata of an ONNX file.

    Attributes:
        inputs: those that are no weights.
        outputs: in the file's order.
        metadata: texts by key.
        entry_operators: the operators, such as 'Conv', that the inputs go into.
    """

    inputs: tuple[OnnxValueInfo, ...]
    outputs: tuple[OnnxValueInfo, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    entry_operators: frozenset[str] = frozenset()


def read_graph_info(data: bytes) -> OnnxGraphInfo:
    """Read what an ONNX file says about its inputs, outputs and metadata.

    Args:
        data: the whole file.

    Raises:
        ValueError: the bytes are no ONNX file with an input.
    """
    graphs = list(_iter_submessages(memoryview(data), _MODEL_GRAPH))
    # Old files list their weights among the inputs as well.
    weight_names = {
        _read_text(weight, _INITIALIZER_NAME)
        for graph in graphs
        for weight in _iter_submessages(graph, _GRAPH_INITIALIZER)
    }
    values = [value for graph in graphs for value in _read_values(graph, _GRAPH_INPUT)]
    inputs = [value for value in values if value.name not in weight_names]
    if not inputs:
        raise ValueError('no graph with an input')
    metadata = {
        _read_text(entry, _ENTRY_KEY): _read_text(entry, _ENTRY_VALUE)
        for entry in _iter_submessages(memoryview(data), _MODEL_METADATA)
    }
    return OnnxGraphInfo(
        inputs=tuple(inputs),
        outputs=tuple(value for graph in graphs for value in _read_values(graph, _GRAPH_OUTPUT)),
        metadata=metadata,
        entry_operators=_read_entry_operators(graphs, {value.name for value in inputs}),
    )


def _read_values(graph: memoryview, field_number: int) -> Iterator[OnnxValueInfo]:
    """The inputs or outputs of a graph."""
    for value in _iter_submessages(graph, field_number):
        tensors = [
            tensor
            for value_type in _iter_submessages(value, _VALUE_TYPE)
            for tensor in _iter_submessages(value_type, _TENSOR_TYPE)
        ]
        element_types = [_read_integer(tensor, _ELEMENT_TYPE) for tensor in tensors]
        shape = [
            _read_integer(dimension, _DIM_VALUE)
            for tensor in tensors
            for tensor_shape in _iter_submessages(tensor, _TENSOR_SHAPE)
            for dimension in _iter_submessages(tensor_shape, _SHAPE_DIM)
        ]
        element_type = ELEMENT_TYPES.get(element_types[0] if element_types else 0, 'unknown')
        yield OnnxValueInfo(_read_text(value, _VALUE_NAME), tuple(shape), element_type)


def _read_entry_operators(graphs: list[memoryview], input_names: set[str]) -> frozenset[str]:
    """The operators of the nodes that read an input."""
    nodes = [node for graph in graphs for node in _iter_submessages(graph, _GRAPH_NODE)]
    return frozenset(
        _read_text(node, _NODE_OPERATOR)
        for node in nodes
        if any(_decode_text(name) in input_names for name in _iter_submessages(node, _NODE_INPUT))
    )


def _read_integer(message: memoryview, field_number: int) -> int:
    """The first whole number that a message holds under a field number; 0 without one."""
    numbers = (value for number, value in _iter_fields(message) if number == field_number and isinstance(value, int))
    return next(numbers, 0)


def _read_text(message: memoryview, field_number: int) -> str:
    """The first text that a message holds under a field number; '' without one."""
    return next((_decode_text(text) for text in _iter_submessages(message, field_number)), '')


def _decode_text(text: memoryview) -> str:
    return bytes(text).decode('utf-8', 'replace')


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
        # Little-endian groups of 7 bits; the top bit says that another byte follows.
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, offset + i + 1
    raise ValueError(f'the number at byte {offset} has no end')
