"""The public face of the package: its names, what importing it costs, and their docstrings."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import poseplug

HEAVY_MODULES = {'torch', 'cv2', 'numpy', 'scipy', 'mmengine', 'mmcv', 'rich', 'matplotlib'}


def run_python(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout


def test_importing_poseplug_alone_loads_no_library():
    loaded = run_python('import sys, poseplug; print(*sys.modules)').split()
    assert not {name.partition('.')[0] for name in loaded} & HEAVY_MODULES
    assert [name for name in loaded if name.startswith('poseplug.')] == ['poseplug.core', 'poseplug.core.version']


def test_listing_the_names_imports_none_of_them():
    code = 'import sys, poseplug; print(*dir(poseplug)); print("torch" in sys.modules)'
    names, has_torch = run_python(code).splitlines()
    assert set(poseplug.__all__) <= set(names.split())
    assert has_torch == 'False'


@pytest.mark.parametrize('name', poseplug.__all__)
def test_every_public_name_resolves_and_says_what_it_is(name):
    value = getattr(poseplug, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert inspect.getdoc(value)


def test_type_checkers_see_the_names_that_are_imported_lazily():
    tree = ast.parse(Path(poseplug.__file__).read_text())
    (branch,) = (node for node in tree.body if isinstance(node, ast.If))
    visible = {(name.name, node.module) for node in branch.body for name in node.names}
    assert visible == set(poseplug._MODULES_BY_NAME.items())
    assert sorted([*poseplug._MODULES_BY_NAME, '__version__']) == sorted(poseplug.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'poseplug' has no attribute 'Predicter'"):
        poseplug.Predicter  # noqa: B018
