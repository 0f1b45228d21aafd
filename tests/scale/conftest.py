"""Fixtures of trainings, which some tests of this folder run in several processes."""

from tests.engine.conftest import are_equal

__all__ = ['are_equal']
