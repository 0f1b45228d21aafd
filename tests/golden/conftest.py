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


def need_golden_file(folder: Path, name: str) -> Path:
    """A file of golden numbers; the test is skipped where the folder, as one of a single seed, lacks it."""
    if not (folder / name).is_file():
        pytest.skip(f'no {name} in {folder}')
    return folder / name
