"""Statements are short, and what is decided inside one has a name (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / 'poseplug'
MODULES = sorted(PACKAGE.rglob('*.py'))
MAX_NODES = 60
MIN_TABLE_ROWS = 3
COMPOUND = ast.FunctionDef | ast.ClassDef | ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match
LITERAL = ast.Dict | ast.List | ast.Tuple | ast.Set
DECISION = ast.IfExp | ast.BoolOp | ast.ListComp | ast.GeneratorExp


def count_nodes(node: ast.AST) -> int:
    """Count syntax nodes; of a table, which is read row by row, the longest row counts.

    A table is a literal of three or more values, or a call that names three or more arguments.
    """
    if isinstance(node, ast.AnnAssign):
        return 1 + count_nodes(node.target) + count_nodes(node.value or ast.Pass())
    if isinstance(node, LITERAL) and len(list(ast.iter_child_nodes(node))) > MIN_TABLE_ROWS:
        return 1 + max(count_nodes(child) for child in ast.iter_child_nodes(node))
    if isinstance(node, ast.Call) and len(node.keywords) >= MIN_TABLE_ROWS:
        unnamed = sum(count_nodes(child) for child in (node.func, *node.args))
        return 1 + unnamed + max(count_nodes(keyword) for keyword in node.keywords)
    return 1 + sum(count_nodes(child) for child in ast.iter_child_nodes(node))


def is_long_statement(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and not isinstance(node, COMPOUND) and count_nodes(node) > MAX_NODES


def has_nested_conditional(node: ast.AST) -> bool:
    return isinstance(node, ast.IfExp) and any(isinstance(child, ast.IfExp) for child in (node.body, node.orelse))


def has_logic_in_f_string(node: ast.AST) -> bool:
    return isinstance(node, ast.FormattedValue) and any(isinstance(child, DECISION) for child in ast.walk(node.value))


@pytest.mark.parametrize('module', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_statements_are_short_and_their_decisions_named(module):
    checks = {
        f'a statement of more than {MAX_NODES} nodes: name its parts': is_long_statement,
        'a conditional inside a conditional: write if and elif': has_nested_conditional,
        'logic in an f-string: name the part': has_logic_in_f_string,
    }
    nodes = list(ast.walk(ast.parse(module.read_text())))
    found = [
        f'{module.name}:{node.lineno} {message}' for message, check in checks.items() for node in nodes if check(node)
    ]
    assert not found, '\n'.join(found)


def test_a_table_counts_by_its_longest_row():
    assert count_nodes(ast.parse('f(a=1, b=2, c=x + y)').body[0]) < count_nodes(ast.parse('f(1, 2, 3, x + y)').body[0])
    assert is_long_statement(ast.parse('x = ' + ' + '.join('a' * 40)).body[0])
