"""Where a config says something: file and line, found in its syntax without running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.config.shipped import resolve_base
from poseplug.core.errors import ConfigError

KeyPath = tuple[Any, ...]  # the keys and indices that lead to a setting: ('model', 'head', 'num_stages')


def locate_setting(cfg: Config, path: KeyPath, options: Mapping[str, Any]) -> str:
    """Find where a setting was written.

    Args:
        cfg: the loaded config.
        path: of the setting.
        options: of the command line, by dotted keys.

    Returns:
        `--cfg-options`, or `FILE:LINE` of the config or the base that contains the setting or the closest one above.
    """
    dotted = '.'.join(map(str, path))
    if any(f'{dotted}.'.startswith(f'{key}.') or key.startswith(f'{dotted}.') for key in options):
        return '--cfg-options'
    files = list_config_files(Path(cfg.filename)) if cfg.filename else []
    for length in range(len(path), 0, -1):
        for file in files:
            line = _find_line(file, path[:length])
            if line:
                return f'{format_path(file)}:{line}'
    return format_path(Path(cfg.filename)) if cfg.filename else 'the config'


def list_config_files(file: Path) -> list[Path]:
    """Return a Python config and the bases that it inherits from, nearest first; none for a data config."""
    if file.suffix != '.py':
        return []
    bases = [resolve_base(file, base) for base in list_base_names(file)]
    return [file, *(f for b in bases if b.is_file() for f in list_config_files(b))]


def list_base_names(file: Path) -> list[str]:
    """Return what a Python config gives as its `_base_`, where that is written as a literal."""
    assignment = _find_assignments(file).get('_base_')
    try:
        value = ast.literal_eval(assignment.value) if assignment is not None else []
    except ValueError:  # computed when the file runs
        value = []
    return [value] if isinstance(value, str) else list(value)


def get_base_source(file: Path) -> str:
    """Return the source of the assignment to `_base_` in a Python config, which must have one."""
    source = file.read_text(encoding='utf-8')
    return ast.get_source_segment(source, _find_assignments(file)['_base_']) or ''


def parse_config_syntax(file: Path) -> ast.Module:
    """Parse a Python config without running it.

    Raises:
        ConfigError: it is not Python, or not UTF-8.
    """
    try:
        return ast.parse(file.read_text(encoding='utf-8'))
    except SyntaxError as error:
        raise ConfigError(f'{format_path(file)}:{error.lineno}: this is not Python: {error.msg}') from error
    except UnicodeDecodeError as error:
        raise ConfigError(f'{format_path(file)} is not a text in UTF-8: {error}') from error


def imports_modules(file: Path) -> bool:
    """Return whether a config imports modules, by `import` or by `custom_imports`."""
    statements = parse_config_syntax(file).body
    has_imports = any(isinstance(statement, ast.Import | ast.ImportFrom) for statement in statements)
    return has_imports or 'custom_imports' in _find_assignments(file)


def _find_assignments(file: Path) -> dict[str, ast.Assign]:
    """The last assignment to each name in a config."""
    assignments = {}
    for statement in parse_config_syntax(file).body:
        if isinstance(statement, ast.Assign):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            assignments.update(dict.fromkeys(names, statement))
    return assignments


def _find_line(file: Path, path: KeyPath) -> int | None:
    """The line on which a file writes a nested setting, or None; names are followed to their assignments."""
    assignments = _find_assignments(file)
    node: Any = assignments.get(path[0])
    for key in path[1:]:
        value = getattr(node, 'value', node)
        while isinstance(value, ast.Name) and value.id in assignments:
            value = assignments[value.id].value
        node = _get_child_node(value, key)
    return node.lineno if node is not None else None


def _get_child_node(node: Any, key: Any) -> Any:
    """What a dict or list in the syntax holds at a key or index: `key=value` of a call, or the value itself."""
    if isinstance(node, ast.Call):
        return next((k for k in node.keywords if k.arg == key), None)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == key), None)
    if isinstance(node, ast.List | ast.Tuple) and isinstance(key, int) and key < len(node.elts):
        return node.elts[key]
    return None


def format_path(file: Path) -> str:
    """Return a path, relative to the current folder if it is below that."""
    current_folder, resolved = Path.cwd(), file.resolve()
    return str(resolved.relative_to(current_folder)) if resolved.is_relative_to(current_folder) else str(file)


def find_used_names(file: Path) -> set[str]:
    """Return the variables that a config uses."""
    nodes = ast.walk(parse_config_syntax(file))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
