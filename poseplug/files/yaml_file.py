"""Reads YAML files of plain values: no tags, no aliases, and no key twice."""

from __future__ import annotations

__all__ = ['parse_plain_yaml', 'read_json_or_yaml', 'read_yaml']

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
    return read_json(file) if file.suffix.lower() == '.json' else read_yaml(file)


def read_yaml(file: Path) -> Any:
    """Read a YAML file.

    Args:
        file: the file.

    Returns:
        Its content, of plain Python types.

    Raises:
        AnnotationError: the file cannot be read, or is no YAML of plain values.
    """
    try:
        return parse_plain_yaml(file.read_text(encoding='utf-8-sig'))
    except OSError as error:
        cause = error.strerror or error
        raise AnnotationError(f'{file}: {cause}; check its path, or restore the file') from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f'{file} is not a readable YAML file ({error}); restore or correct it') from error


def parse_plain_yaml(text: str) -> Any:
    """Parse YAML of plain values.

    Args:
        text: the YAML.

    Returns:
        The value, of plain Python types.

    Raises:
        ValueError: the text is not YAML, names a key twice, or contains tags of objects or aliases. Nested aliases can
            expand to any size.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        # Events come before any value is built, so that an alias is refused before it can expand.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise ValueError(f'line {line} has an alias (*{event.anchor}); write the value itself')
        # Nodes still have both values of a repeated key; the dict that is loaded has the last one.
        _check_yaml_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(' '.join(str(error).split())) from error


def _check_yaml_keys(root: Any) -> None:
    """Refuse a mapping that names a key twice, of which YAML would take the last value; `root` is a node or None."""
    remaining = [root] if root is not None else []
    while remaining:
        node = remaining.pop()
        if node.id == 'scalar':
            continue
        if node.id == 'sequence':
            remaining += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.id == 'scalar' and key.value in lines:
                raise ValueError(f'line {line} names the key {key.value!r} of line {lines[key.value]} again')
            lines[str(key.value)] = line
            remaining.append(value)
