"""Configs of data, JSON and YAML, of which nothing is run; and Python configs shown without running them."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from poseplug.config_lines import shown, tree
from poseplug.errors import ConfigError, UnsafeFileError

ENDINGS = ('.json', '.yaml', '.yml')
# Settings that import modules, and who may say so instead
CODE = {'custom_imports': 'use a .py config', 'plugins': 'give them by --plugins, or use a .py config'}
PARTS = ('type', 'constructor')  # settings that name a part, which is imported where the name has dots
DEEP = 10  # bases of bases


def read_data(path: Path, depth: int = 0) -> dict[str, Any]:
    """A JSON or YAML config with its bases, which are such files, too.

    Raises:
        UnsafeFileError: it names a Python file as its base or as a teacher's config, or modules to import.
        ConfigError: it cannot be read.
    """
    content = parsed(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f'{shown(path)} is not a config: it holds no settings by name')
    for key, remedy in CODE.items():
        if key in content:
            raise UnsafeFileError(f'{shown(path)}: {key} runs code, which a {path.suffix} config cannot; {remedy}')
    for told in imports(content):
        raise UnsafeFileError(f'{shown(path)}: {told} runs code, which a {path.suffix} config cannot; use a .py config')
    given = content.pop('_base_', [])
    merged: dict[str, Any] = {}
    for base in [given] if isinstance(given, str) else given:
        if not isinstance(base, str) or Path(base).suffix not in ENDINGS:
            raise UnsafeFileError(
                f'{shown(path)}: its base {base!r} is no {", ".join(ENDINGS)} file; a .py file runs code'
            )
        if depth == DEEP:
            raise ConfigError(f'{shown(path)}: more than {DEEP} bases of bases; do they go round in a circle?')
        merged = joined(merged, read_data(path.parent / base, depth + 1))
    return joined(merged, content)


def imports(content: Any) -> Iterator[str]:
    """The settings anywhere in a config that name a part by its module, or a Python config, in words."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for key, text in value.items() if isinstance(value, dict) else ():
            if isinstance(text, str) and runs(key, text):
                yield f'{key} {text!r}'


def runs(key: str, text: str) -> bool:
    """Whether a setting names a part by its module, or a config that is no data."""
    return '.' in text if key in PARTS else key == 'config' and Path(text).suffix not in ENDINGS


def parsed(path: Path) -> Any:
    """The content of a JSON or YAML file, as plain data."""
    try:
        text = path.read_text(encoding='utf-8')
        return json.loads(text) if path.suffix == '.json' else plain_yaml(text)
    except OSError as error:
        raise ConfigError(f'{shown(path)}: {error.strerror or error}') from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f'{shown(path)} is no readable {path.suffix[1:].upper()}: {error}') from error


def plain_yaml(text: str) -> Any:
    """YAML of plain values; tags of objects, and aliases, which can grow without end, are a ValueError."""
    import yaml  # type: ignore[import-untyped]

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f'line {event.start_mark.line + 1} refers to another place (*{event.anchor})')
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(' '.join(str(error).split())) from error


def joined(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A base with the settings of its heir; dicts are joined, unless the heir's has `_delete_`."""
    result = dict(base)
    for key, value in own.items():
        old = result.get(key)
        if isinstance(value, dict) and isinstance(old, Mapping) and not value.get('_delete_'):
            result[key] = joined(old, value)
        else:
            result[key] = without_marks(value)
    return result


def without_marks(value: Any) -> Any:
    """A value without the marks that say how it is joined."""
    if isinstance(value, dict):
        return {key: without_marks(v) for key, v in value.items() if key != '_delete_'}
    return value


# --- Python configs, unrun --------------------------------------------------------------------------------------------


def outline(path: Path) -> dict[str, Any]:
    """What a Python config says, read and not run: settings by name, what would have to be run as its source text."""
    found: dict[str, Any] = {}
    for statement in tree(path).body:
        if isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
            for target in statement.targets:
                found[target.id] = literal(statement.value, found)  # type: ignore[attr-defined]
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            found[f'line {statement.lineno}'] = source(statement)
    return found


def literal(node: ast.AST, known: Mapping[str, Any]) -> Any:
    """The value of an expression of literals, dict(...) and names known before; else its source text."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        values = [literal(v, known) for v in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: literal(value, known) for key, value in pairs}  # type: ignore[union-attr]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {k.arg or '**': literal(k.value, known) for k in node.keywords}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        return -value if isinstance(value, int | float) else source(node)
    return source(node)


def source(node: ast.AST) -> str:
    """The text of something that is not run."""
    return f'<not run: {ast.unparse(node)}>'
