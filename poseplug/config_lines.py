"""Where a config says something: file and line, found by reading its syntax and not by running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.errors import ConfigError

Keys = tuple[Any, ...]  # the keys and places that lead to a setting: ('model', 'head', 'stages')


def origin(cfg: Config, path: Keys, options: Mapping[str, Any]) -> str:
    """Where a setting was written: the command line, or the file and line of the config or base that says it."""
    dotted = '.'.join(map(str, path))
    if any(f'{dotted}.'.startswith(f'{key}.') or key.startswith(f'{dotted}.') for key in options):
        return '--cfg-options'
    files = chain(Path(cfg.filename)) if cfg.filename else []
    for length in range(len(path), 0, -1):
        for file in files:
            line = line_of(file, path[:length])
            if line:
                return f'{shown(file)}:{line}'
    return shown(Path(cfg.filename)) if cfg.filename else 'the config'


def chain(file: Path) -> list[Path]:
    """A Python config and the bases it inherits from, nearest first; none of a config of data."""
    if file.suffix != '.py':
        return []
    base = assigned(file).get('_base_')
    try:
        value = ast.literal_eval(base.value) if base is not None else []
    except ValueError:  # computed when the file runs
        value = []
    bases = [(file.parent / b).resolve() for b in ([value] if isinstance(value, str) else value)]
    return [file, *(f for b in bases if b.is_file() for f in chain(b))]


def tree(file: Path) -> ast.Module:
    """The syntax of a config, which is read and not run."""
    try:
        return ast.parse(file.read_text(encoding='utf-8'))
    except SyntaxError as error:
        raise ConfigError(f'{shown(file)}:{error.lineno}: this is not Python: {error.msg}') from error
    except UnicodeDecodeError as error:
        raise ConfigError(f'{shown(file)} is not a text in UTF-8: {error}') from error


def assigned(file: Path) -> dict[str, ast.Assign]:
    """The last assignment to each name of a config."""
    found = [
        (t.id, n) for n in tree(file).body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    ]
    return dict(found)


def line_of(file: Path, path: Keys) -> int | None:
    """The line on which one file writes a nested setting, or None; names are followed to where they are assigned."""
    names = assigned(file)
    node: Any = names.get(path[0])
    for key in path[1:]:
        value = getattr(node, 'value', node)
        while isinstance(value, ast.Name) and value.id in names:
            value = names[value.id].value
        node = below(value, key)
    return node.lineno if node is not None else None


def below(node: Any, key: Any) -> Any:
    """What a dict or list in a config's syntax holds at a key or place: `key=value` of a call, or the value itself."""
    if isinstance(node, ast.Call):
        return next((k for k in node.keywords if k.arg == key), None)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == key), None)
    if isinstance(node, ast.List | ast.Tuple) and isinstance(key, int) and key < len(node.elts):
        return node.elts[key]
    return None


def shown(file: Path) -> str:
    """A path below the current folder without the folder's own part."""
    here = Path.cwd()
    return str(file.resolve().relative_to(here)) if file.resolve().is_relative_to(here) else str(file)


def names_used(file: Path) -> set[str]:
    """The variables that a config itself uses."""
    return {n.id for n in ast.walk(tree(file)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
