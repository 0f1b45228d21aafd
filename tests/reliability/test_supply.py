"""What an installation brings: versions that were tested, by their hashes."""

import re

import pytest
from packaging.requirements import Requirement

from tests.reliability.doors import ROOT, locks, requirements

LINES = [line for line in (ROOT / 'constraints.txt').read_text().splitlines() if '==' in line]
TESTED = {name.lower().replace('_', '-'): version for name, version in (line.split('==') for line in LINES)}
ELSEWHERE = re.compile('torch|triton|nvidia-|cuda-|sympy|networkx|mpmath|wheel')  # of torch, or to build with


def test_the_lock_has_the_tested_versions_with_hashes():
    locked = dict(name.split('==') for name in locks())
    assert {n: v for n, v in TESTED.items() if n in locked} == {n: v for n, v in locked.items() if n in TESTED}
    assert [n for n in TESTED if n not in locked and not ELSEWHERE.match(n)] == []
    assert all(locks().values())


@pytest.mark.parametrize('requirement', requirements())
def test_the_tested_version_lies_between_floor_and_ceiling(requirement):
    wanted = Requirement(requirement)
    assert {s.operator for s in wanted.specifier} == {'>=', '<'}
    assert wanted.specifier.contains(TESTED[wanted.name])
