"""An installation uses tested versions, pinned by their hashes."""

import re

import pytest
from packaging.requirements import Requirement

from tests.reliability.untrusted_input import ROOT, read_lock_hashes, read_requirements

LINES = [line for line in (ROOT / 'constraints.txt').read_text().splitlines() if '==' in line]
TESTED = {name.lower().replace('_', '-'): version for name, version in (line.split('==') for line in LINES)}
NOT_LOCKED = re.compile('torch|triton|nvidia-|cuda-|sympy|networkx|mpmath|wheel')  # of torch, or build tools


def test_the_lock_has_the_tested_versions_with_hashes():
    locked = dict(name.split('==') for name in read_lock_hashes())
    assert {n: v for n, v in TESTED.items() if n in locked} == {n: v for n, v in locked.items() if n in TESTED}
    assert [n for n in TESTED if n not in locked and not NOT_LOCKED.match(n)] == []
    assert all(read_lock_hashes().values())


@pytest.mark.parametrize('requirement', read_requirements())
def test_the_tested_version_lies_between_floor_and_ceiling(requirement):
    parsed = Requirement(requirement)
    assert {s.operator for s in parsed.specifier} == {'>=', '<'}
    assert parsed.specifier.contains(TESTED[parsed.name])
