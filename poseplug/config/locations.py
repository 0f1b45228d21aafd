"""File and line of the settings of a config, found in its syntax without running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from poseplug.config.shipped import resolve_base
from poseplug.core.errors import ConfigError

KeyPath = tuple[Any, ...]  # the keys and indices that lead to a setting: ('model', 'head', 'num_stages')


def locate_setting(config_file: Path, path: KeyPath, options: Mapping[str, Any]) -> str:
    """Find where a setting was written.

    Args:
        config_file: of the config.
        path: of the setting.
        options: of the command line, by dotted keys.

    Returns:
        `--cfg-options`, or `FILE:LINE` of the config or the base that contains the setting or the closest one above.
    """
    dotted = '.'.join(map(str, path))
    if any(f'{dotted}.'.startswith(f'{key}.') or key.startswith(f'{dotted}.') for key in options):
        return '--cfg-options'
    files = list_config_files(config_file)
    for length in range(len(path), 0, -1):
        for file in files:
            line = _find_line(file, path[:length])
            if line:
                return f'{format_path(file)}:{line}'
    return format_path(config_file)


def list_config_files(file: Path) -> list[Path]:
    """List the files of a Python config.

    Args:
        file: of the config.

    Returns:
        The config, then each base, followed by the bases of that base; [] for a JSON or YAML config.

    Raises:
        ConfigError: a file is not Python, or no shipped config has the name of a base.
    """
    if file.suffix != '.py':
        return []
    bases = [resolve_base(file, base) for base in list_base_names(file)]
    return [file, *(f for b in bases if b.is_file() for f in list_config_files(b))]


def list_base_names(file: Path) -> list[str]:
    """List the bases of a Python config, as written in `_base_`.

    Args:
        file: of the config.

    Returns:
        Paths and names; [] where `_base_` is absent or not a literal.

    Raises:
        ConfigError: the file is not Python.
    """
    assignment = _find_assignments(file).get('_base_')
    try:
        value = ast.literal_eval(assignment.value) if assignment is not None else []
    except ValueError:  # not a literal: known only when the file runs
        value = []
    return [value] if isinstance(value, str) else list(value)


def get_base_source(file: Path) -> str:
    """Return the source of the assignment to `_base_`.

    Args:
        file: of a Python config that has a base.
    """
    source = file.read_text(encoding='utf-8')
    return ast.get_source_segment(source, _find_assignments(file)['_base_']) or ''


def parse_config_syntax(file: Path) -> ast.Module:
    """Parse a Python config without running it.

    Args:
        file: of the config.

    Returns:
        Its syntax tree.

    Raises:
        ConfigError: the file is not Python, or not UTF-8.
    """
    try:
        return _parse_source(file.read_text(encoding='utf-8'))
    except SyntaxError as error:
        raise ConfigError(f'{format_path(file)}:{error.lineno}: this is not Python: {error.msg}') from error
    except UnicodeDecodeError as error:
        raise ConfigError(f'{format_path(file)} is not a text in UTF-8: {error}') from error


# A config is parsed for its bases, its lines and its names: 58 times for one of four files, without this cache.
_parse_source = lru_cache(maxsize=64)(ast.parse)


def imports_modules(file: Path) -> bool:
    """Return whether a Python config imports modules, by `import` or by `custom_imports`.

    Args:
        file: of the config.

    Raises:
        ConfigError: the file is not Python.
    """
    statements = parse_config_syntax(file).body
    has_imports = any(isinstance(statement, ast.Import | ast.ImportFrom) for statement in statements)
    return has_imports or 'custom_imports' in _find_assignments(file)


def _find_assignments(file: Path) -> dict[str, ast.Assign]:
    """The last assignment to each name in a config."""
    assignments = {}
    for statement in parse_config_syntax(file).body:
        if isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            # The last assignment is the one that counts when the file runs.
            assignments.update(dict.fromkeys(names, statement))
    return assignments


def _find_line(file: Path, path: KeyPath) -> int | None:
    """The line of a nested setting in a file, or None; a variable is followed to its assignment."""
    assignments = _find_assignments(file)
    node: Any = assignments.get(path[0])
    for key in path[1:]:
        value = getattr(node, 'value', node)
        # Each is followed once: the assignments `a = b` and `b = a` lead to each other for ever.
        remaining = dict(assignments)
        while isinstance(value, ast.Name) and value.id in remaining:
            value = remaining.pop(value.id).value
        node = _get_child_node(value, key)
    return node.lineno if node is not None else None


def _get_child_node(node: Any, key: Any) -> Any:
    """The node at a key of a dict(...) call or a dict, or at an index of a list; None if there is none."""
    if isinstance(node, ast.Call):
        return next((k for k in node.keywords if k.arg == key), None)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == key), None)
    if isinstance(node, ast.List | ast.Tuple) and isinstance(key, int) and key < len(node.elts):
        return node.elts[key]
    return None


def format_path(file: Path) -> str:
    """Return a path as text, relative to the current folder if the file is inside it."""
    current_folder, resolved = Path.cwd(), file.resolve()
    return str(resolved.relative_to(current_folder)) if resolved.is_relative_to(current_folder) else str(file)


def find_unread_names(file: Path) -> set[str]:
    """Return the names that a Python config assigns and does not read itself, nor by `_base_.NAME` in another file.

    Args:
        file: of the config.

    Raises:
        ConfigError: the file is not Python.
    """
    nodes = list(ast.walk(parse_config_syntax(file)))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return {name for name in _find_assignments(file) if name not in read}


def find_base_variables(file: Path) -> set[str]:
    """Return the names of a config's bases that it reads by `_base_.NAME`.

    Args:
        file: of the config.

    Raises:
        ConfigError: the file is not Python.
    """
    nodes = ast.walk(parse_config_syntax(file))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    return {node.attr for node in attributes if node.value.id == '_base_'}  # type: ignore[attr-defined]
