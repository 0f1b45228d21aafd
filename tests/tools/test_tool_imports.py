"""Scripts in tools/ and docs/ import names that exist: most of them need hours or other environments to run."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    file.relative_to(ROOT).as_posix() for folder in ('tools', 'docs') for file in (ROOT / folder).rglob('*.py')
)


def list_imported_names(source: str) -> list[tuple[str, str]]:
    """Modules of poseplug and the names that a script imports from them, in functions too."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.module]
    ours = [node for node in statements if node.module.partition('.')[0] == 'poseplug']
    return [(node.module, alias.name) for node in ours for alias in node.names]


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_imports_names_that_exist(script):
    for module_name, name in list_imported_names((ROOT / script).read_text(encoding='utf-8')):
        module = importlib.import_module(module_name)
        # What is no attribute must be a module of the package.
        assert hasattr(module, name) or importlib.import_module(f'{module_name}.{name}'), name


def test_names_that_moved_are_noticed():
    (imported,) = list_imported_names('def run():\n    from poseplug.core.sample import Batch')
    assert imported == ('poseplug.core.sample', 'Batch')
    assert not hasattr(importlib.import_module(imported[0]), imported[1])
