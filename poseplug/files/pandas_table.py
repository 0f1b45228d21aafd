"""Reads tables that pandas wrote as HDF5 (`to_hdf`, both of its formats), without pandas and without unpickling.

In the format 'fixed', which is the default, names and values are arrays. In the format 'table', pandas pickles the
names of the columns into an attribute. The bytes are only taken apart, by the few operations that make lists, tuples
and strings; nothing that they say is run.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.files.hdf5 import open_hdf5

_MARK = object()


def read_pandas_table(file: Path) -> tuple[list[tuple[str, ...]], list[str], np.ndarray]:
    """Read the first table of a file, whose columns have several levels of names.

    Args:
        file: the HDF5 file.

    Returns:
        The C columns, as tuples of names; the N names of the rows, with their levels joined by '/'; and the values
        (N, C).

    Raises:
        AnnotationError: the file has no table of numbers as pandas writes it.
    """
    with open_hdf5(file) as opened:
        groups = [group for group in opened.values() if hasattr(group, 'values')]
        for group in groups:
            if 'table' in group and 'non_index_axes' in group.attrs:
                return _read_table_format(file, group)
            if 'axis0_nlevels' in group.attrs:
                return _read_fixed_format(file, group)
    raise AnnotationError(
        f'{file}: no table that pandas wrote with several levels of columns; name its CSV file instead'
    )


def _read_table_format(file: Path, group: Any) -> tuple[list[tuple[str, ...]], list[str], np.ndarray]:
    """Read a group of the format 'table'."""
    try:
        axes = parse_pickled_names(bytes(group.attrs['non_index_axes']))
        columns = [tuple(map(str, column)) for column in axes[0][1]]
    except (ValueError, IndexError, TypeError) as error:
        raise AnnotationError(f'{file}: the names of its columns cannot be read; name its CSV file') from error
    table = group['table'][()]
    # pandas keeps the columns of each type in a block; tables of keypoints have one, of floats.
    if 'values_block_0' not in table.dtype.names or 'values_block_1' in table.dtype.names:
        raise AnnotationError(f'{file}: its columns are not all numbers; name its CSV file instead')
    values = np.asarray(table['values_block_0'], dtype=float).reshape(len(table), -1)
    names = list(map(_decode_name, table['index']))
    if values.shape[1] != len(columns):
        raise AnnotationError(f'{file}: {values.shape[1]} columns of numbers, but {len(columns)} names')
    return columns, names, values


def _read_fixed_format(file: Path, group: Any) -> tuple[list[tuple[str, ...]], list[str], np.ndarray]:
    """Read a group of the format 'fixed'."""
    try:
        columns, rows = _read_index(group, 'axis0'), _read_index(group, 'axis1')
        values = np.full((len(rows), len(columns)), np.nan)
        positions = {column: position for position, column in enumerate(columns)}
        for number in range(int(group.attrs['nblocks'])):
            block = group[f'block{number}_values']
            # pandas holds a block as (columns, rows), and says so where it stored it the other way around.
            numbers = np.asarray(block[()], dtype=float)
            numbers = numbers if bool(block.attrs.get('transposed', False)) else numbers.T
            chosen = [positions[column] for column in _read_index(group, f'block{number}_items')]
            values[:, chosen] = numbers.reshape(len(rows), len(chosen))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise AnnotationError(
            f'{file}: its table cannot be read, or is not all numbers ({error}); name its CSV file instead'
        ) from error
    return columns, ['/'.join(row) for row in rows], values


def _read_index(group: Any, name: str) -> list[tuple[str, ...]]:
    """Read the names of rows or columns; each of several levels has its distinct names and indices of them."""
    num_levels = group.attrs.get(f'{name}_nlevels')
    if num_levels is None:
        return [(_decode_name(each),) for each in group[name][()]]
    levels = []
    for level in range(int(num_levels)):
        names = list(map(_decode_name, group[f'{name}_level{level}'][()]))
        indices = group[f'{name}_label{level}'][()]
        if len(indices) and min(indices) < 0:
            raise ValueError(f'{name} has a missing name')
        levels.append([names[index] for index in indices])
    return list(zip(*levels, strict=True))


def _decode_name(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def parse_pickled_names(data: bytes) -> Any:
    """Parse pickled lists, tuples, strings and integers, without running anything.

    Args:
        data: the pickled value.

    Returns:
        The value.

    Raises:
        ValueError: it contains anything else.

    Example:
        >>> parse_pickled_names(b'(lp0\\n(L1L\\nVx\\np1\\ntp2\\na.')
        [(1, 'x')]
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == 'STOP':
            return stack[-1]
        if name in ('PROTO', 'FRAME'):
            continue
        if name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
            memo[argument] = stack[-1]
        elif name == 'MEMOIZE':
            # Protocol 4 numbers memo entries by their order, without stating it.
            memo[len(memo)] = stack[-1]
        elif name in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(memo[argument])
        else:
            _apply_opcode(stack, name, argument)
    raise ValueError('the pickled value has no end')


def _apply_opcode(stack: list[Any], name: str, argument: Any) -> None:
    """Apply one operation that makes a list, a tuple, a string or an integer."""
    if name in ('UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1'):
        stack.append(argument)
    elif name == 'MARK':
        stack.append(_MARK)
    elif name in ('EMPTY_LIST', 'EMPTY_TUPLE'):
        stack.append([] if name == 'EMPTY_LIST' else ())
    elif name in ('LIST', 'TUPLE'):
        items = _pop_to_mark(stack)
        stack.append(items if name == 'LIST' else tuple(items))
    elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
        count = int(name[-1])
        stack[-count:] = [tuple(stack[-count:])]
    elif name == 'APPEND':
        item = stack.pop()
        stack[-1].append(item)
    elif name == 'APPENDS':
        items = _pop_to_mark(stack)
        stack[-1].extend(items)
    else:
        raise ValueError(f'operation {name} is neither of a list, a tuple, a string nor an integer')


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    """Remove and return what lies above the last mark."""
    items: list[Any] = []
    while stack[-1] is not _MARK:
        items.append(stack.pop())
    stack.pop()
    return items[::-1]
