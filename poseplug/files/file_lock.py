"""A lock that one process at a time holds, by a file."""

from __future__ import annotations

__all__ = ['lock_file']

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == 'win32':
    import msvcrt
else:
    import fcntl


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
    with open(path, 'a+b') as file:
        if sys.platform == 'win32':
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file ends the lock
