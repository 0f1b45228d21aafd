"""The processors that this process may use."""

from __future__ import annotations

__all__ = ['count_allowed_processors']

import os
from pathlib import Path


def count_allowed_processors() -> float:
    """Count the processors that this process may use, by its affinity and its control group."""
    if hasattr(os, 'sched_getaffinity'):
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    try:
        quota, period = Path('/sys/fs/cgroup/cpu.max').read_text().split()
        return min(count, int(quota) / int(period)) if quota != 'max' else count
    except (OSError, ValueError):
        return count
