"""Changed functions are noticed by the tests that run them, and the measured parts reach their goal."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from tests.conftest import ROOT
from tests.mutation.changes import Change, find_function_code
from tests.mutation.write_table import (
    compute_killed_fraction,
    format_equivalent,
    format_table,
    read_reasons,
    read_results,
    replace_section,
)

MIN_KILLED = 0.85
MODULE = '''"""Areas."""
from functools import cache


class Box:
    def __init__(self, width, height):
        self.width, self.height = width, height

    @property
    def area(self):
        return self.width * self.height


@cache
def count_cells(size):
    total = 0
    while total < size:
        total += 1
    return total


def compute_unused(size):
    return size + 1
'''
TESTS = """
import itertools
from shapes.area import Box, count_cells

CALLS = itertools.count()

def test_the_area_of_a_box():
    assert Box(2, 3).area == 6

def test_boxes_of_width_one_have_their_height():
    assert Box(1, 3).area == 3

def test_cells_are_counted():
    assert count_cells(3) == 3

def test_that_passes_only_once():
    assert next(CALLS) == 0 and count_cells(2) == 2
"""
# What is changed to what, in which function, and what becomes of it.
CHANGES = {
    'killed': ('self.width * self.height', 'self.width / self.height', 'Box.area'),
    'survived': ('total < size', 'total != size', 'count_cells'),
    'timeout': ('total += 1', 'total += 0', 'count_cells'),
    'untested': ('size + 1', 'size - 1', 'compute_unused'),
}
SCRIPT = """
import json, sys
from pathlib import Path
import pytest
from tests.mutation import forked_tests
from tests.mutation.changes import Change

forked_tests.MIN_LIMIT_S = 3.0
changes = [Change(**{**change, 'lines': range(*change['lines'])}) for change in json.load(sys.stdin)]
plugin = forked_tests.ForkedTests(changes, Path('shapes').resolve())
options = ['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '--rootdir', '.', '-c', 'pytest.ini']
pytest.main([*options, 'test_area.py'], plugins=[plugin])
verdicts = {name: verdict.outcome for name, verdict in plugin.verdicts.items()}
Path('verdicts.json').write_text(json.dumps([verdicts, plugin.left_out]))
"""


def build_change(name: str, file: str) -> Change:
    before, after, function = CHANGES[name]
    line = MODULE[: MODULE.index(before)].count('\n') + 1
    return Change(name, file, function, range(line, line + 1), MODULE.replace(before, after))


def test_a_changed_function_has_the_verdict_of_the_tests_that_run_it(tmp_path):
    folder = tmp_path / 'shapes'
    folder.mkdir()
    (folder / 'area.py').write_text(MODULE)
    (tmp_path / 'test_area.py').write_text(TESTS)
    (tmp_path / 'pytest.ini').write_text('[pytest]\n')
    changes = [asdict(build_change(name, str(folder / 'area.py'))) for name in CHANGES]
    content = json.dumps([{**change, 'lines': [change['lines'].start, change['lines'].stop]} for change in changes])
    environment = {'PYTHONPATH': f'{ROOT}:{tmp_path}', 'PATH': ''}
    command = [sys.executable, '-c', SCRIPT]
    result = subprocess.run(command, cwd=tmp_path, env=environment, input=content, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    verdicts, left_out = json.loads((tmp_path / 'verdicts.json').read_text())
    assert verdicts == {name: name for name in CHANGES}
    assert left_out == {'test_area.py::test_that_passes_only_once': 'fails when it runs again'}


def test_the_code_of_a_function_is_that_of_its_name_and_line():
    source = (
        'class A:\n    @property\n    def x(self): return 1\n    @x.setter\n    def x(self, value): self.y = value\n'
    )
    getter, setter = (find_function_code(source, 'a.py', 'A.x', line) for line in (3, 5))
    assert (getter.co_argcount, setter.co_argcount) == (1, 2)
    assert find_function_code(source, 'a.py', 'B.x', 5) is None


def test_a_change_is_described_by_its_line():
    change = build_change('killed', 'area.py')
    assert change.describe(MODULE) == (
        11,
        'return self.width * self.height',
        'return self.width / self.height',
    )


def test_mutants_are_changes_within_functions_but_not_of_messages_and_annotations(tmp_path):
    pytest.importorskip('mutmut', reason='needs pip install mutmut==3.8.1')
    from tests.mutation.mutants import sample_mutants

    file = tmp_path / 'area.py'
    file.write_text('''"""Areas."""
SIDES = 4

def grow(size: int = 3) -> "int":
    """Grow."""
    if size < 0:
        raise ValueError('too small', f'{size}')
    return size * 2
''')
    total, changes = sample_mutants(tmp_path, [file], None, seed=0)
    described = {change.describe(file.read_text()) for change in changes}
    assert described == {
        (6, 'if size < 0:', 'if size <= 0:'),
        (6, 'if size < 0:', 'if size < 1:'),
        (8, 'return size * 2', 'return size / 2'),
        (8, 'return size * 2', 'return size * 3'),
    }
    assert total == len(changes) == 4
    assert sample_mutants(tmp_path, [file], 2, seed=0)[1] == changes[:2]


@pytest.mark.parametrize('part', read_results())
def test_the_tests_of_a_part_kill_most_of_its_mutants(part):
    result = read_results()[part]
    num_survivors = sum(outcome in ('survived', 'untested') for outcome in result['outcomes'].values())
    assert num_survivors == len(result['survivors'])
    assert len(result['outcomes']) >= min(200, 0.9 * result['mutants'])
    assert compute_killed_fraction(result) >= MIN_KILLED


def test_every_reason_is_that_of_a_survivor():
    survivors = {survivor['id'] for result in read_results().values() for survivor in result['survivors']}
    assert set(read_reasons()) <= survivors


def test_the_table_counts_equivalent_survivors_apart():
    survivor = dict(id='a', where='poseplug/x.py:3', function='f', before='x + 0', after='x - 0')
    outcomes = dict(a='survived', b='untested', c='timeout', **dict.fromkeys('defgh', 'killed'))
    results = {'x': dict(mutants=9, outcomes=outcomes, survivors=[survivor, {**survivor, 'id': 'b'}])}
    assert format_table(results, {'a': 'zero'}).splitlines()[-1] == '| x | 9 | 8 | 5 | 1 | 1 | 1 | 75.0 % |'
    expected = '- `x.py`, `f`: zero.\n  `x + 0` became `x - 0`'
    assert format_equivalent(results, {'a': 'zero'}) == expected
    assert replace_section('a <!-- t -->old<!-- t --> b', '<!-- t -->', 'new') == (
        'a <!-- t -->\n\nnew\n\n<!-- t --> b'
    )
