"""What the property tests share: how many examples each law is tried with, and what the examples are made of."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

LAW = settings(
    max_examples=int(os.environ.get('PROPERTY_EXAMPLES', 20)),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

finite = st.floats(-500, 500, allow_subnormal=False)
positive = st.floats(0.05, 20, allow_subnormal=False)
degrees = st.floats(-720, 720)
sizes = st.tuples(st.integers(2, 400), st.integers(2, 400))
seeds = st.integers(0, 2**32 - 1)


def points(least: int = 1, most: int = 12) -> st.SearchStrategy[np.ndarray]:
    """(M, 2) positions."""
    return st.integers(least, most).flatmap(lambda m: npst.arrays(np.float64, (m, 2), elements=finite))


def boxes(least: int = 0, most: int = 10) -> st.SearchStrategy[np.ndarray]:
    """(N, 4) two corners, the second right of and below the first."""

    def of(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[:, :2], rows[:, :2] + np.abs(rows[:, 2:])], axis=1)

    return st.integers(least, most).flatmap(lambda n: npst.arrays(np.float64, (n, 4), elements=finite)).map(of)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
