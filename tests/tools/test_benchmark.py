"""tools/benchmark.py: what its rows run in fresh interpreters."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def benchmark():
    """The module tools/benchmark.py."""
    sys.path.insert(0, str(ROOT / 'tools'))
    try:
        yield __import__('benchmark')
    finally:
        sys.path.remove(str(ROOT / 'tools'))
        sys.modules.pop('benchmark', None)


def test_describing_a_model_imports_nothing_that_draws_or_trains(benchmark):
    seconds, num_modules, forbidden = benchmark.run_and_report(benchmark.DESCRIBE_CODE)
    assert seconds > 0
    assert num_modules > 500  # torch alone has more, so the command has really run
    assert forbidden == []
