"""The mutants of a module: single changes within its functions, made by the operators of mutmut.

Not made, because no test should notice them: changes of docstrings, annotations, decorators, defaults of parameters,
and of the wording of messages (strings within `raise`, warnings and log calls). Code of module and class level is
not changed either: it has run before a mutant is put into a process that has imported everything.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import libcst as cst
from libcst import matchers
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

from tests.mutation.changes import Change, find_function_code

_SKIPPED_NODES = (cst.Annotation, cst.Decorator, cst.Param)
_SKIPPED_CALLS = ('len', 'isinstance', 'cast')  # a changed one fails at once, or is for type checkers alone
_MESSAGE_CALLS = matchers.Call(
    func=matchers.Attribute(
        attr=matchers.OneOf(
            *(matchers.Name(name) for name in ('warn', 'debug', 'info', 'warning', 'error', 'exception'))
        )
    )
)
_BLOCKS = (cst.BaseCompoundStatement, cst.ExceptHandler, cst.Else, cst.MatchCase)


def sample_mutants(root: Path, files: Sequence[Path], count: int | None, seed: int) -> tuple[int, list[Change]]:
    """Choose mutants by the hash of seed and mutant, so that a change of one function leaves the others chosen.

    Args:
        root: the folder to which the names of the files are relative.
        files: modules.
        count: number of mutants to choose; None is all.
        seed: chooses the sample.

    Returns:
        The number of all mutants, and those chosen that compile and differ from the original in bytecode.
    """
    candidates = [candidate for file in files for candidate in _list_candidates(root, file)]
    candidates.sort(key=lambda candidate: hashlib.sha256(f'{seed} {candidate.key}'.encode()).digest())
    chosen: list[Change] = []
    for candidate in candidates:
        if count is not None and len(chosen) == count:
            break
        change = candidate.build_change()
        if change is not None:
            chosen.append(change)
    return len(candidates), chosen


class _Candidate:
    """A mutant before its module is written out."""

    def __init__(
        self, file: str, function: str, lines: range, module: cst.Module, nodes: tuple[cst.CSTNode, cst.CSTNode]
    ):
        self.file, self.function, self.lines, self.module, self.nodes = file, function, lines, module, nodes
        before, after = (' '.join(module.code_for_node(node).split()) for node in nodes)
        self.key = f'{file} {function}: {before} -> {after}'

    def build_change(self) -> Change | None:
        """Write out the changed module; None if it does not compile, or compiles to the original's bytecode."""
        source = self.module.deep_replace(*self.nodes).code
        original = find_function_code(self.module.code, self.file, self.function, self.lines.start)
        try:
            code = find_function_code(source, self.file, self.function, self.lines.start)
        except SyntaxError:
            return None
        if original is None or code is None or code == original or code.co_freevars != original.co_freevars:
            return None
        identity = hashlib.sha256(self.key.encode()).hexdigest()[:10]
        return Change(identity, self.file, self.function, self.lines, source)


def _list_candidates(root: Path, file: Path) -> list[_Candidate]:
    wrapper = MetadataWrapper(cst.parse_module(file.read_text()))
    collector = _Collector(str(file.relative_to(root)), wrapper.module)
    wrapper.visit(collector)
    counts: Counter[str] = Counter()
    for candidate in collector.candidates:
        counts[candidate.key] += 1
        candidate.key += f' ({counts[candidate.key]})'
    return collector.candidates


class _Collector(cst.CSTVisitor):
    """Collects the mutants of the functions of a module."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, file: str, module: cst.Module):
        super().__init__()
        self.file, self.module = file, module
        self.candidates: list[_Candidate] = []
        self.ancestors: list[cst.CSTNode] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        self.ancestors.append(node)
        if isinstance(node, _SKIPPED_NODES) or matchers.matches(node, matchers.Expr(matchers.SimpleString())):
            return False
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in _SKIPPED_CALLS:
            return True
        function = self._get_function_name()
        if function:
            self._add_mutants(node, function)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self.ancestors.pop()

    def _get_function_name(self) -> str:
        """The qualified name of the outermost function around the current node; empty outside functions."""
        names = []
        for ancestor in self.ancestors[:-1]:
            if isinstance(ancestor, cst.ClassDef | cst.FunctionDef):
                names.append(ancestor.name.value)
            if isinstance(ancestor, cst.FunctionDef):
                return '.'.join(names)
        return ''

    def _get_lines(self) -> range:
        """The lines of the statement around the current node, or of the head of a block up to the node."""
        positions = [self.get_metadata(PositionProvider, node, None) for node in self.ancestors]
        known = [(node, p) for node, p in zip(self.ancestors, positions, strict=True) if p is not None]
        for index in range(len(known) - 1, -1, -1):
            node, position = known[index]
            if isinstance(node, cst.SimpleStatementLine):
                return range(position.start.line, position.end.line + 1)
            if isinstance(node, _BLOCKS):
                end = known[-1][1].end.line if index + 1 < len(known) else position.start.line
                return range(position.start.line, end + 1)
        raise AssertionError('a node of a function is in one of its statements')

    def _is_in_message(self) -> bool:
        return any(isinstance(node, cst.Raise) or matchers.matches(node, _MESSAGE_CALLS) for node in self.ancestors)

    def _add_mutants(self, node: cst.CSTNode, function: str) -> None:
        is_in_message = self._is_in_message()
        for mutated in _mutate_node(node):
            if not (is_in_message and _changes_wording(node, mutated)):
                self.candidates.append(_Candidate(self.file, function, self._get_lines(), self.module, (node, mutated)))


def _mutate_node(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for node_type, operator in mutation_operators:
        if isinstance(node, node_type):
            yield from operator(node)


def _changes_wording(node: cst.CSTNode, mutated: cst.CSTNode) -> bool:
    """Whether a change within a message is one of its strings, or removes them."""
    if isinstance(node, cst.Call) and isinstance(mutated, cst.Call):
        remaining = {id(arg) for arg in mutated.args}
        return all(_is_text(arg.value) for arg in node.args if id(arg) not in remaining)
    return isinstance(node, cst.BaseString)


def _is_text(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.BinaryOperation):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, cst.BaseString)
