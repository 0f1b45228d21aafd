"""Reads configs without running them: JSON and YAML configs, which are data, and the syntax of Python configs."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.config.locations import format_path, parse_config_syntax
from poseplug.config.shipped import DATA_CONFIG_SUFFIXES
from poseplug.core.errors import ConfigError, UnsafeFileError
from poseplug.files.json_file import parse_json
from poseplug.files.yaml_file import parse_plain_yaml

_IMPORTABLE_SETTINGS = ('type', 'constructor')  # settings that name a part; a name with dots imports a module
_MAX_BASE_DEPTH = 10  # a base of a base has depth 2; bases that refer to each other end here


@dataclass(frozen=True)
class ConfigLayer:
    """The settings of one file of a config.

    Attributes:
        file: the file.
        settings: of the file alone, without those of its bases.
    """

    file: Path
    settings: dict[str, Any]


def list_data_layers(path: Path, depth: int = 0) -> list[ConfigLayer]:
    """Read a JSON or YAML config and its bases.

    Args:
        path: of the config; its bases are JSON or YAML files, too.
        depth: 0 for the config itself, 1 for its bases, 2 for bases of those.

    Returns:
        The layers, bases first.

    Raises:
        UnsafeFileError: the config names modules to import, or a Python file as its base or as a teacher's config.
        ConfigError: the config cannot be read, or its bases refer to each other in a circle.
    """
    content = _parse_data_file(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f'{format_path(path)} is not a config: it holds no settings by name')
    _check_runs_no_code(content, path)
    bases = content.pop('_base_', [])
    layers: list[ConfigLayer] = []
    for base in [bases] if isinstance(bases, str) else bases:
        _check_base(base, path, depth)
        layers += list_data_layers(path.parent / base, depth + 1)
    return [*layers, ConfigLayer(path, content)]


def load_data_config(path: Path) -> dict[str, Any]:
    """Load a JSON or YAML config with its bases, without looking up its parts.

    Args:
        path: of the config.

    Returns:
        The settings, merged with those of the bases.

    Raises:
        UnsafeFileError: as in `list_data_layers`.
        ConfigError: as in `list_data_layers`.
    """
    merged: dict[str, Any] = {}
    for layer in list_data_layers(path):
        merged = merge_dicts(merged, layer.settings)
    return merged


def merge_dicts(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings into others, in their order; no dict of either is in the result.

    Args:
        base: the settings that are overridden.
        override: the settings that override them. A dict with `_delete_` replaces that of the base as a whole.

    Returns:
        The merged settings, without `_delete_`.
    """
    result = {key: _copy_value(value) for key, value in base.items()}  # a changed setting keeps its place
    for key, value in override.items():
        base_value = base.get(key)
        if isinstance(value, Mapping) and isinstance(base_value, Mapping) and not value.get('_delete_'):
            result[key] = merge_dicts(base_value, value)
        else:
            result[key] = _copy_value(value)
    return result


def _copy_value(value: Any) -> Any:
    """A value with new dicts, without `_delete_` at any depth."""
    if isinstance(value, Mapping):
        return {key: _copy_value(v) for key, v in value.items() if key != '_delete_'}
    return [_copy_value(v) for v in value] if isinstance(value, list) else value


def _check_runs_no_code(content: dict[str, Any], path: Path) -> None:
    imports = ['custom_imports'] if 'custom_imports' in content else []
    # The first one is enough for the message; nothing of the config has been used so far.
    for setting in [*imports, *_find_code_settings(content)]:
        raise UnsafeFileError(
            f'{format_path(path)}: {setting} runs code, which a {path.suffix} config cannot; use a .py config'
        )


def _check_base(base: Any, path: Path, depth: int) -> None:
    if not isinstance(base, str) or Path(base).suffix not in DATA_CONFIG_SUFFIXES:
        suffixes = ', '.join(DATA_CONFIG_SUFFIXES)
        raise UnsafeFileError(f'{format_path(path)}: its base {base!r} is no {suffixes} file; a .py file runs code')
    # Counted, since comparing paths would miss a circle through links.
    if depth == _MAX_BASE_DEPTH:
        raise ConfigError(
            f'{format_path(path)}: more than {_MAX_BASE_DEPTH} bases of bases; do they refer to each other in a circle?'
        )


def _find_code_settings(content: Any) -> Iterator[str]:
    """The settings, at any depth, that would run code: text such as "type 'package.module.Name'"."""
    remaining = [content]
    while remaining:
        value = remaining.pop()
        if isinstance(value, list):
            remaining += value
        elif isinstance(value, dict):
            remaining += value.values()
            for key, text in value.items():
                if isinstance(text, str) and _runs_code(key, text):
                    yield f'{key} {text!r}'


def _runs_code(key: str, text: str) -> bool:
    """Whether a setting imports a module, or refers to a config that is not data."""
    if key in _IMPORTABLE_SETTINGS:
        # A registry imports the module of a dotted name (`PartRegistry.find_part`).
        return '.' in text
    # A teacher's config is loaded like any other: a .py file would run.
    return key == 'config' and Path(text).suffix not in DATA_CONFIG_SUFFIXES


def _parse_data_file(path: Path) -> Any:
    """The content of a JSON or YAML file."""
    try:
        text = path.read_text(encoding='utf-8')
        return parse_json(text) if path.suffix == '.json' else parse_plain_yaml(text)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{format_path(path)}: {reason}') from error
    except (ValueError, RecursionError) as error:
        format_name = path.suffix.removeprefix('.').upper()
        raise ConfigError(f'{format_path(path)} is no readable {format_name}: {error}') from error


# --- Python configs ---------------------------------------------------------------------------------------------------


def inspect_python_config(path: Path) -> dict[str, Any]:
    """Read a Python config without running it.

    Args:
        path: of the config; its bases are not read.

    Returns:
        The settings by name. An expression that is not a literal is its source, as '<not run: SOURCE>', and a
        statement that is not an assignment is one under 'line NUMBER'.

    Raises:
        ConfigError: the file is not Python.
    """
    settings: dict[str, Any] = {}
    for statement in parse_config_syntax(path).body:
        if isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
            for target in statement.targets:
                settings[target.id] = _literal_or_source(statement.value, settings)  # type: ignore[attr-defined]
        # A docstring or another literal on a line of its own does nothing.
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            settings[f'line {statement.lineno}'] = _mark_source(statement)
    return settings


def _literal_or_source(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """The value of an expression of literals, dict(...) and `names`; otherwise its source."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        values = [_literal_or_source(v, names) for v in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _literal_or_source(value, names) for key, value in pairs}  # type: ignore[union-attr]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {k.arg or '**': _literal_or_source(k.value, names) for k in node.keywords}
    # A negative number is no literal in Python's syntax, but a minus before one.
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        return -value if isinstance(value, int | float) else _mark_source(node)
    return _mark_source(node)


def _mark_source(node: ast.AST) -> str:
    """The source of an expression or statement, marked as not run."""
    return f'<not run: {ast.unparse(node)}>'
