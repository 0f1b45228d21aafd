"""Shared by the property tests: the number of examples per law, and the strategies that draw them."""

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


def points(min_count: int = 1, max_count: int = 12) -> st.SearchStrategy[np.ndarray]:
    """(M, 2) positions."""
    return st.integers(min_count, max_count).flatmap(lambda m: npst.arrays(np.float64, (m, 2), elements=finite))


def boxes(min_count: int = 0, max_count: int = 10) -> st.SearchStrategy[np.ndarray]:
    """(N, 4) xyxy, the second corner right of and below the first."""

    def order_corners(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows[:, :2], rows[:, :2] + np.abs(rows[:, 2:])], axis=1)

    return (
        st.integers(min_count, max_count)
        .flatmap(lambda n: npst.arrays(np.float64, (n, 4), elements=finite))
        .map(order_corners)
    )


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
