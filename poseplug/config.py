"""Configs: classic mmengine Python files, read so that an error says which file and which setting."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from poseplug.errors import ConfigError, PoseplugError, closest
from poseplug.registry import (
    CODECS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    SOURCES,
    TRANSFORMS,
    Registry,
    check_arguments,
    parameters,
)

KINDS: dict[str, Registry] = {
    'model': MODELS,
    'backbone': MODELS,
    'neck': MODELS,
    'head': MODELS,
    'loss': MODELS,
    'codec': CODECS,
    'dataset': DATASETS,
    'sources': SOURCES,
    'pipeline': TRANSFORMS,
    'val_evaluator': METRICS,
    'test_evaluator': METRICS,
    'custom_hooks': HOOKS,
}
WIRED = {'skeleton', 'input_size', 'in_channels', 'strides', 'fields', 'stride', 'seed'}


def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """A config file with its bases, then the command line's `options` (dotted keys); every part's name is checked."""
    path = Path(path)
    if not path.is_file():
        near = closest(path.name, [p.name for p in path.parent.glob('*.py')] if path.parent.is_dir() else [])
        raise ConfigError(f'{path}: no such config' + (f'; {near}' if near else ''))
    try:
        cfg = Config.fromfile(str(path), lazy_import=False, import_custom_modules=False)
    except PoseplugError:
        raise
    except Exception as error:
        raise ConfigError(f'{path} cannot be read: {type(error).__name__}: {error}') from error
    merge_options(cfg, options or {})
    check(cfg, options or {})
    return cfg


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Put `--cfg-options` into a config. A changed `type` starts that part anew: settings of the old part go."""
    for key, value in options.items():
        if key.endswith('.type') or (isinstance(value, Mapping) and 'type' in value):
            owner = key.removesuffix('.type')
            part = _lookup(cfg, owner)
            kind = value if key.endswith('.type') else value['type']
            if isinstance(part, dict) and part.get('type') not in (None, kind):
                part.clear()
        try:
            cfg.merge_from_dict({key: value})
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ConfigError(f'--cfg-options {key}={value!r} does not fit the config: {error}') from error


def check(cfg: Config, options: Mapping[str, Any] | None = None) -> None:
    """Every `type` must be known and every argument fit its part; all findings are reported together."""
    findings = []
    for path, spec, registry in typed(cfg):
        try:
            part = registry.get(spec['type']) if isinstance(spec['type'], str) else spec['type']
            settings = {k: v for k, v in spec.items() if k != 'type'}
            named, _ = parameters(part)
            check_arguments(part, spec['type'], settings, {n: settings.get(n) for n in WIRED if n in named})
        except ConfigError as error:
            findings.append(f'{origin(cfg, path, options or {})}, {".".join(map(str, path))}: {error}')
    if findings:
        raise ConfigError('\n'.join(findings))


def typed(cfg: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any], Registry]]:
    """Every dict with a `type` that a registry of ours builds: its key path, itself, the registry."""

    def walk(value: Any, path: tuple[Any, ...], kind: str) -> Iterator[Any]:
        if isinstance(value, Mapping):
            if 'type' in value and kind in KINDS:
                yield path, value, KINDS[kind]
            for key, below in value.items():
                yield from walk(below, (*path, key), key)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for place, below in enumerate(value):
                yield from walk(below, (*path, place), kind)

    yield from walk({k: v for k, v in cfg.items()}, (), '')


def origin(cfg: Config, path: Sequence[Any], options: Mapping[str, Any]) -> str:
    """Where a setting was written: the command line, or the file and line of the config or base that says it."""
    dotted = '.'.join(map(str, path))
    if any(dotted.startswith(key.removesuffix('.type')) or key.startswith(f'{dotted}.') for key in options):
        return '--cfg-options'
    for file in chain(Path(cfg.filename)) if cfg.filename else []:
        line = _line(file, [p for p in path if isinstance(p, str)])
        if line:
            return f'{_shown(file)}:{line}'
    return cfg.filename or 'the config'


def chain(file: Path) -> list[Path]:
    """A config file and the bases it inherits from, nearest first."""
    bases: list[str] = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            value = ast.literal_eval(node.value)
            bases = [value] if isinstance(value, str) else list(value)
    return [file, *(f for base in bases for f in chain((file.parent / base).resolve()))]


def _line(file: Path, keys: list[str]) -> int | None:
    """The line on which a nested key is written in one file, by reading it, not running it."""
    nodes = {
        getattr(n.targets[0], 'id', ''): n.value for n in ast.parse(file.read_text()).body if isinstance(n, ast.Assign)
    }
    node = nodes.get(keys[0]) if keys else None
    for key in keys[1:]:
        inner = node.elts[0] if isinstance(node, (ast.List, ast.Tuple)) and node.elts else node
        if isinstance(inner, ast.Call):
            found = {k.arg: k.value for k in inner.keywords}
        elif isinstance(inner, ast.Dict):
            found = {getattr(k, 'value', None): v for k, v in zip(inner.keys, inner.values, strict=True)}
        else:
            return node.lineno if node is not None else None
        node = found.get(key)
    return node.lineno if node is not None else None


def _shown(file: Path) -> str:
    """A path below the current folder without the folder's own part."""
    here = Path.cwd()
    return str(file.resolve().relative_to(here)) if file.resolve().is_relative_to(here) else str(file)


def _lookup(cfg: Any, dotted: str) -> Any:
    for key in dotted.split('.'):
        if isinstance(cfg, Mapping):
            cfg = cfg.get(key)
        elif isinstance(cfg, Sequence) and key.isdigit() and int(key) < len(cfg):
            cfg = cfg[int(key)]
        else:
            return None
    return cfg
