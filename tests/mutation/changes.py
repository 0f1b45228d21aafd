"""A change of one function, and how it is put into a process that has imported the function already."""

from __future__ import annotations

import difflib
import functools
import gc
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType

CodeKey = tuple[str, str, int]  # file, qualified name, first line
FunctionIndex = Mapping[CodeKey, list[FunctionType]]
_CACHE_TYPE = type(functools.cache(len))


@dataclass(frozen=True)
class Change:
    """A module with one change in a function.

    Attributes:
        identity: hash of what is changed where.
        file: path of the module.
        function: qualified name of the changed function; for one within another, that of the outermost.
        lines: numbers of the lines of the changed statement.
        source: the whole changed module.
    """

    identity: str
    file: str
    function: str
    lines: range
    source: str

    def describe(self, original: str) -> tuple[int, str, str]:
        """Return the number of the first changed line, the changed lines of the original, and those of this source."""
        diff = list(difflib.unified_diff(original.splitlines(), self.source.splitlines(), n=0, lineterm=''))[2:]
        line = int(re.split('[-, ]+', diff[0])[1])
        before, after = (' '.join(' '.join(line[1:] for line in diff if line[0] == sign).split()) for sign in '-+')
        return line, before, after


def find_function_code(source: str, file: str, function: str, line: int) -> CodeType | None:
    """The code of a function in the source of a module: of those of that name the last that starts by a line."""
    module = compile(source, file, 'exec', dont_inherit=True)
    codes = [code for code in _list_codes(module) if code.co_qualname == function and code.co_firstlineno <= line]
    return codes[-1] if codes else None


def _list_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _list_codes(constant)


def _get_code_key(code: CodeType) -> CodeKey:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def index_functions(folder: str) -> FunctionIndex:
    """All functions of this process whose code comes from a folder."""
    functions: dict[CodeKey, list[FunctionType]] = defaultdict(list)
    for value in gc.get_objects():
        if type(value) is FunctionType and value.__code__.co_filename.startswith(folder):
            functions[_get_code_key(value.__code__)].append(value)
    return functions


def list_caches(package: str) -> list[functools._lru_cache_wrapper]:
    """All caches of functions of a package."""
    caches = [value for value in gc.get_objects() if type(value) is _CACHE_TYPE]
    return [cache for cache in caches if str(getattr(cache, '__module__', '')).partition('.')[0] == package]


def apply_change(change: Change, functions: FunctionIndex) -> int:
    """Give the functions of this process the changed code.

    Args:
        change: its `file` as the functions of this process name it.
        functions: see `index_functions`.

    Returns:
        Number of functions that were changed; 0 if none is there.
    """
    code = find_function_code(change.source, change.file, change.function, change.lines.start)
    assert code is not None
    changed_functions = functions.get(_get_code_key(code), [])
    for function in changed_functions:
        function.__code__ = code
    return len(changed_functions)
