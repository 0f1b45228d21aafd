"""What a JSON file is, by its first level: enough to tell formats apart, and kept so that each file is parsed once."""

from __future__ import annotations

__all__ = ['JsonStructure', 'read_json_structure']

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from poseplug.files.json_file import read_json


@dataclass(frozen=True)
class JsonStructure:
    """The first level of a JSON file.

    Attributes:
        is_list: whether the file is a list; otherwise it is an object, or neither.
        types: the Python type of each value, by its key: of the object, or of the first object of the list.
    """

    is_list: bool = False
    types: Mapping[str, type] = field(default_factory=dict)

    def has_keys(self, *keys: str) -> bool:
        """Return whether the object, or the first object of the list, has all of these keys."""
        return all(key in self.types for key in keys)


def read_json_structure(file: Path) -> JsonStructure:
    """Return the structure of a JSON file.

    Args:
        file: the file; one that was not changed since the last call is not read again.

    Raises:
        AnnotationError: the file cannot be read or is no JSON.
    """
    try:
        state = file.stat()
    except OSError:
        return _describe_value(read_json(file))  # raises the error that names the cause
    # Time and size are part of the cache's key, so that a file which was written again is read again.
    return _read_file(file.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 16)  # structures are small; a folder of LabelMe has one for each image
def _read_file(file: Path, *_: int) -> JsonStructure:
    return _describe_value(read_json(file))


def _describe_value(content: Any) -> JsonStructure:
    is_list = isinstance(content, list)
    # The first object stands for all: lists of one export have objects of one kind.
    first = content[0] if is_list and content else content
    return JsonStructure(is_list, {key: type(value) for key, value in first.items()} if isinstance(first, dict) else {})
