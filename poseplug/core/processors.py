"""The processors that this process may use, and what they can do."""

from __future__ import annotations

__all__ = ['count_allowed_processors', 'has_bfloat16_instructions']

import os
from pathlib import Path

_BFLOAT16_FLAGS = {'avx512_bf16', 'amx_bf16', 'avx_ne_convert', 'bf16'}  # the last one of ARM


def count_allowed_processors() -> float:
    """Count the processors that this process may use, by its affinity and its control group."""
    if hasattr(os, 'sched_getaffinity'):
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    try:
        # The limit of a container (cgroup v2): processor time per period, both in microseconds, or 'max'.
        quota, period = Path('/sys/fs/cgroup/cpu.max').read_text().split()
        return min(count, int(quota) / int(period)) if quota != 'max' else count
    except (OSError, ValueError):
        return count


def has_bfloat16_instructions() -> bool:
    """Whether the CPU computes with bfloat16 by instructions of its own."""
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        return False
    return bool(_BFLOAT16_FLAGS & set(text.split()))
