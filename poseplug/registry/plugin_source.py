"""What an installed package registers, read from the syntax of its source: nothing of it is imported or run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

# The registries by the name under which they are imported, and the kind of part that each holds
KINDS = {
    'MODELS': 'model',
    'CODECS': 'codec',
    'SOURCES': 'source',
    'TRANSFORMS': 'transform',
    'DATASETS': 'dataset',
    'SAMPLERS': 'sampler',
    'METRICS': 'metric',
    'HOOKS': 'hook',
    'LOOPS': 'loop',
    'OPTIM_WRAPPERS': 'optimizer wrapper',
    'OPTIM_WRAPPER_CONSTRUCTORS': 'optimizer constructor',
    'SKELETONS': 'skeleton',
    'OPTIMIZERS': 'optimizer',  # of mmengine alone, as the next
    'PARAM_SCHEDULERS': 'parameter scheduler',
}
MARKS = (b'register_module', b'register_skeleton')  # a file without them is not parsed


class Part(NamedTuple):
    """A kind and a name that a source registers, and where, as `package.module.Name`."""

    kind: str
    name: str
    place: str


class Reading(NamedTuple):
    """The parts of a package, and what could not be read of it, in words."""

    parts: tuple[Part, ...]
    faults: tuple[str, ...]

    def of(self, kind: str) -> dict[str, str]:
        """The places of one kind's parts by their names."""
        return {part.name: part.place for part in self.parts if part.kind == kind}


def read(module: str) -> Reading:
    """What the source of a module registers, and of everything else in its package."""
    parts: list[Part] = []
    faults: list[str] = []
    for name, file in files(module):
        try:
            parts += registered(name, file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            faults.append(f'{name} cannot be read ({error})')
    return Reading(tuple(parts), tuple(faults))


def files(module: str) -> Iterator[tuple[str, Path]]:
    """Name and file of every module in a module's package: itself and below, or those beside it where it is a file.

    A file that lies in no package stands alone.
    """
    top, *below = module.split('.')
    try:
        spec = find_spec(top)  # a name without dots, of which nothing is imported
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return
    if spec.submodule_search_locations is None and str(spec.origin).endswith('.py'):
        yield top, Path(spec.origin or '')
    for root in map(Path, spec.submodule_search_locations or []):
        place = root.joinpath(*below)
        folder, above = (place, [top, *below]) if place.is_dir() else (place.parent, [top, *below[:-1]])
        if (folder / '__init__.py').is_file():
            for file in sorted(folder.rglob('*.py')):
                yield '.'.join([*above, *dotted(file.relative_to(folder))]), file
        elif place.with_suffix('.py').is_file():
            yield module, place.with_suffix('.py')


def dotted(file: Path) -> list[str]:
    """The parts of a module's name below its package, from its file's path."""
    return [part for part in file.with_suffix('').parts if part != '__init__']


def registered(module: str, source: bytes) -> Iterator[Part]:
    """The parts that the source of one module registers by names that stand in it, each once."""
    if not any(mark in source for mark in MARKS):
        return
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of its style
        tree = ast.parse(source)
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    aliases = {alias.asname: alias.name for alias in imports if alias.asname}
    values = {last(t): node.value for node in tree.body if isinstance(node, ast.Assign) for t in node.targets}
    told = set()
    for call, thing in calls(tree):
        for kind, name in claims(call, thing, aliases, values):
            if (kind, name) not in told:
                told.add((kind, name))
                yield Part(kind, name, f'{module}.{thing or name}')


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call, and the name of the class or function that it decorates or takes as `module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield from ((d, node.name) for d in node.decorator_list if isinstance(d, ast.Call))
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Call) and node.args:
                yield node.func, last(node.args[0])
            yield node, last(argument(node, 2, 'module'))


def claims(
    call: ast.Call, thing: str, aliases: Mapping[str, str], values: Mapping[str, ast.AST]
) -> Iterator[tuple[str, str]]:
    """Kinds and names that one call registers: `CODECS.register_module(...)`, or `register_skeleton(Skeleton(...))`."""
    action = aliases.get(last(call.func), last(call.func))
    given = argument(call, 0, 'name')
    if action == 'register_module' and isinstance(call.func, ast.Attribute):
        kind = KINDS.get(aliases.get(last(call.func.value), last(call.func.value)), '')
        written = [thing] if given is None or getattr(given, 'value', '') is None else strings(given)
    elif action == 'register_skeleton':
        made = argument(call, 0, 'skeleton')
        made = values.get(last(made), made)
        kind, written = 'skeleton', strings(argument(made, 0, 'name')) if isinstance(made, ast.Call) else []
    else:
        return
    yield from ((kind, name) for name in written if kind and name)


def argument(call: ast.Call, place: int, name: str) -> ast.AST | None:
    """An argument of a call by its name, else by its place."""
    named = next((k.value for k in call.keywords if k.arg == name), None)
    return named or (call.args[place] if len(call.args) > place else None)


def strings(node: ast.AST | None) -> list[str]:
    """A text, or those of a list, that stand in the source as they are."""
    each = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [n.value for n in each if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def last(node: ast.AST | None) -> str:
    """`Name` of `Name` and of `package.Name`, or nothing."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ''
