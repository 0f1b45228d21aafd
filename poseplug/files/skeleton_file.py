"""Reads a skeleton from a JSON or YAML file of its fields."""

from __future__ import annotations

__all__ = ['is_skeleton_file', 'read_skeleton_fields']

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.files.json_file import describe_json_value
from poseplug.files.yaml_file import read_json_or_yaml

_SUFFIXES = ('.json', '.yaml', '.yml')


def is_skeleton_file(spec: Any) -> bool:
    """Return whether a setting names a file of a skeleton, by its suffix.

    Example:
        >>> is_skeleton_file('gecko.json'), is_skeleton_file('lsp'), is_skeleton_file(dict(name='gecko'))
        (True, False, False)
    """
    return isinstance(spec, str) and spec.lower().endswith(_SUFFIXES)


def read_skeleton_fields(spec: str, folder: Path) -> dict[str, Any]:
    """Read the fields of a skeleton; without a `name` it has that of the file.

    Args:
        spec: the file.
        folder: that a relative path starts from; where it has no such file, the current folder.

    Raises:
        ConfigError: the file holds no fields.
        AnnotationError: the file cannot be read.
    """
    file = folder / spec if (folder / spec).is_file() or not Path(spec).is_file() else Path(spec)
    fields = read_json_or_yaml(file)
    if not isinstance(fields, Mapping):
        raise ConfigError(f'{file}: a skeleton has keypoints, limbs, sigmas, ...; found {describe_json_value(fields)}')
    return {'name': file.stem, **fields}
