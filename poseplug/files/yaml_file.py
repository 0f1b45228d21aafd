"""Reads files of data that people write by hand, in JSON or YAML."""

from __future__ import annotations

__all__ = ['read_json_or_yaml']

from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.files.json_file import read_json


def read_json_or_yaml(file: Path) -> Any:
    """Read a JSON file, or a YAML file if its name does not end in .json.

    Args:
        file: the file.

    Returns:
        Its content: dicts, lists, numbers, strings.

    Raises:
        AnnotationError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / 'space.yaml'
        >>> _ = file.write_text('lr: [0.1, 0.2]')
        >>> read_json_or_yaml(file)
        {'lr': [0.1, 0.2]}
    """
    if file.suffix.lower() == '.json':
        return read_json(file)
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(file.read_text(encoding='utf-8-sig'))  # editors of Windows begin a file with a BOM
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise AnnotationError(f'{file}: no readable YAML file ({error}); restore or correct it') from error
