"""The folders in which data sets are looked for by their names."""

from __future__ import annotations

__all__ = ['list_data_roots']

import os
from pathlib import Path

_DEFAULT_DATA_ROOTS = ('data', '../shared/data')  # in the current folder, and in a folder shared by several checkouts


def list_data_roots() -> list[Path]:
    """Return the folders that contain data sets: POSEPLUG_DATA of the environment, or the default ones."""
    # One named folder replaces the default ones: a set must not be found elsewhere by accident.
    from_environment = os.environ.get('POSEPLUG_DATA')
    return [Path(from_environment)] if from_environment else [Path(root) for root in _DEFAULT_DATA_ROOTS]
