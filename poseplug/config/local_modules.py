"""The modules beside a config that it imports."""

from __future__ import annotations

__all__ = ['check_local_modules', 'list_imported_names', 'list_local_modules']

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from poseplug.config.locations import parse_config_syntax
from poseplug.core.errors import ConfigError


def check_local_modules(files: list[Path]) -> None:
    """Refuse modules beside configs in whose place Python would take one of the same name that is loaded already.

    Args:
        files: of the configs.

    Raises:
        ConfigError: the loaded module of that name is from another place, and its source differs.
    """
    for path in list_local_modules(files):
        loaded = getattr(sys.modules.get(path.stem), '__file__', None)
        source = path / '__init__.py' if path.is_dir() else path
        # A copy with the same source is the module that was meant: a run's folder holds copies.
        if loaded is None or Path(loaded).resolve() == source.resolve() or _has_same_source(Path(loaded), source):
            continue
        raise ConfigError(
            f'{files[-1]} imports {path.stem!r} from its folder, but this process has loaded another module of that '
            f'name, {loaded}; rename one of them, or start a new process'
        )


def _has_same_source(loaded: Path, source: Path) -> bool:
    """Whether a loaded module is a copy of a source, as in the folder of a run."""
    return loaded.is_file() and loaded.read_bytes() == source.read_bytes()


def list_imported_names(files: list[Path]) -> list[str]:
    """List the modules that configs import by `import` and `from ... import`, without those of Python, each once.

    Args:
        files: of the configs.
    """
    names = [name for file in files for name in _iterate_imports(file)]
    return [name for name in dict.fromkeys(names) if name.partition('.')[0] not in sys.stdlib_module_names]


def _iterate_imports(file: Path) -> Iterator[str]:
    """The names of the modules that a file imports at its top level."""
    for statement in parse_config_syntax(file).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.module


def _list_custom_imports(files: list[Path]) -> list[str]:
    """The modules in the literal `custom_imports` of configs."""
    names: list[str] = []
    for file in files:
        for node in ast.walk(parse_config_syntax(file)):
            if isinstance(node, ast.keyword) and node.arg == 'imports':
                names += [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return names


def list_local_modules(files: list[Path]) -> list[Path]:
    """List the modules and packages beside configs that these import, and those that such modules import in turn.

    Args:
        files: of the configs.

    Returns:
        The file of a module, or the folder of a package.
    """
    folders = list(dict.fromkeys(file.resolve().parent for file in files))
    pending = [*list_imported_names(files), *_list_custom_imports(files)]
    modules: dict[str, Path] = {}
    while pending:
        name = pending.pop().partition('.')[0]
        path = _find_local_module(name, folders)
        if path is None or name in modules:
            continue
        modules[name] = path
        sources = sorted(path.rglob('*.py')) if path.is_dir() else [path]
        # A package is read whole: any of its modules may import others from the folder.
        pending += [imported for source in sources for imported in _iterate_imports(source)]
    return [*modules.values()]


def _find_local_module(name: str, folders: list[Path]) -> Path | None:
    """The file or the package of a module in one of the folders, if it is there."""
    for folder in folders:
        for path in (folder / name, folder / f'{name}.py'):
            if path.is_file() or (path / '__init__.py').is_file():
                return path
    return None
