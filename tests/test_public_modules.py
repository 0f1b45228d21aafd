"""`__all__`: which names of a module are public. A module without it is internal."""

import ast
from pathlib import Path

import pytest

import poseplug
from poseplug.registry import REGISTRIES

PACKAGE = Path(poseplug.__file__).parent


def read_module(file):
    """The names that a module defines at its top level, and its `__all__` (None without one), without importing it."""
    defined, public = set(), None
    body = ast.parse(file.read_text(encoding='utf-8')).body
    type_checking = [node for block in body if isinstance(block, ast.If) for node in block.body]
    for node in [*body, *type_checking]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, 'target', None)]
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        if '__all__' in {getattr(target, 'id', '') for target in targets}:
            public = ast.literal_eval(node.value)
        if isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    return defined, public


def list_modules_with_public_names():
    return [file for file in sorted(PACKAGE.rglob('*.py')) if '__all__ = [' in file.read_text(encoding='utf-8')]


def list_own_parts():
    """Module and name of every part that poseplug registers."""
    parts = [registry.get(name) for registry in REGISTRIES.values() for name in registry.list_names()]
    return sorted(
        {
            (part.__module__, part.__qualname__)
            for part in parts
            if part.__module__.startswith('poseplug.') and part.__qualname__.isidentifier()
        }
    )


@pytest.mark.parametrize('file', list_modules_with_public_names(), ids=lambda file: file.stem)
def test_public_names_are_defined_and_have_no_underscore(file):
    defined, public = read_module(file)
    if file.parent != PACKAGE:  # the names of poseplug itself are imported when they are used
        assert set(public) <= defined
    assert len(set(public)) == len(public)
    assert not [name for name in public if name.startswith('_') and name != '__version__']


def test_every_registered_part_is_public_in_its_module():
    hidden = []
    for module, name in list_own_parts():
        defined, public = read_module(PACKAGE.parent / f'{module.replace(".", "/")}.py')
        if name in defined and name not in (public or ()):
            hidden.append(f'{module} lacks {name!r} in __all__')
    assert hidden == []


def test_every_name_of_poseplug_is_public_in_its_module():
    for name, module in poseplug._MODULES_BY_NAME.items():
        assert name in (read_module(PACKAGE.parent / f'{module.replace(".", "/")}.py')[1] or ()), f'{module}: {name}'
