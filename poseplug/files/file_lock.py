"""A lock that one process at a time holds, by a file."""

from __future__ import annotations

__all__ = ['lock_file']

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Let one process at a time work on what a file stands for; the others wait.

    Args:
        path: of the lock, which is created and stays. The lock ends with the process, however it ends.

    Raises:
        OSError: the file cannot be created.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, lock_file(Path(folder) / '.locked'):
        ...     print('one at a time')
        one at a time
    """
    # 'a+b' creates the file and keeps what is in it; msvcrt locks bytes of a file, flock the file as a whole.
    with open(path, 'a+b') as file:
        _lock_descriptor(file.fileno())
        yield  # closing the file ends the lock


def _lock_descriptor(descriptor: int) -> None:
    """Wait for the lock of an open file, by what the system has for it."""
    try:
        fcntl: Any = importlib.import_module('fcntl')
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except ImportError:  # Windows
        msvcrt: Any = importlib.import_module('msvcrt')
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
