"""Where the numbers of other implementations lie: the folder in POSEPLUG_GOLDEN, or ../shared/golden."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='session')
def golden() -> Path:
    """The folder of golden numbers; tests that request it are skipped where it is absent."""
    folder = Path(os.environ.get('POSEPLUG_GOLDEN', ROOT.parent / 'shared/golden'))
    if not folder.is_dir():
        pytest.skip(f'no golden numbers in {folder}; name their folder by POSEPLUG_GOLDEN')
    return folder
