"""What an ONNX file says of its inputs, read from its bytes (Protocol Buffers; the field numbers are onnx.proto's)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

GRAPH = 7  # of a model
WEIGHT, INPUT = 5, 11  # of a graph
WEIGHT_NAME = 8
NAME, TYPE = 1, 2  # of an input
TENSOR, SHAPE, DIMENSION, LENGTH = 1, 2, 1, 1  # of a type, a tensor, a shape and a dimension
VARINT, LONG, BYTES, SHORT = 0, 1, 2, 5  # how a field is written
SIZES = {LONG: 8, SHORT: 4}


def input_shapes(data: bytes) -> list[tuple[int, ...]]:
    """The shapes of a file's inputs without its weights, 0 for a length that is left open.

    Raises:
        ValueError: these are no bytes of an ONNX file.
    """
    shapes = []
    for graph in parts(memoryview(data), GRAPH):
        weights = {bytes(name) for weight in parts(graph, WEIGHT) for name in parts(weight, WEIGHT_NAME)}
        for given in parts(graph, INPUT):
            if weights.isdisjoint(map(bytes, parts(given, NAME))):
                shapes.append(tuple(lengths(given)))
    if not shapes:
        raise ValueError('no graph with an input')
    return shapes


def lengths(given: memoryview) -> Iterator[int]:
    """The lengths of one input's dimensions."""
    for kind in parts(given, TYPE):
        for tensor in parts(kind, TENSOR):
            for shape in parts(tensor, SHAPE):
                for dimension in parts(shape, DIMENSION):
                    yield next((v for n, v in fields(dimension) if n == LENGTH and isinstance(v, int)), 0)


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages and texts that a message holds under a field's number."""
    return (value for n, value in fields(message) if n == number and isinstance(value, memoryview))


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of a message's fields in turn: a whole number, or a view of the bytes."""
    place = 0
    while place < len(message):
        key, place = varint(message, place)
        if key & 7 == VARINT:
            value, place = varint(message, place)
            yield key >> 3, value
            continue
        if key & 7 == BYTES:
            size, place = varint(message, place)
        elif (key & 7) in SIZES:
            size = SIZES[key & 7]
        else:
            raise ValueError(f'byte {place - 1} begins no field')
        if place + size > len(message):
            raise ValueError(f'a field of {size} bytes is cut off after {len(message) - place}')
        yield key >> 3, message[place : place + size]
        place += size


def varint(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number of 7 bits a byte, the lowest first, and the place behind it."""
    value = 0
    for i, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, place + i + 1
    raise ValueError(f'the number at byte {place} has no end')
