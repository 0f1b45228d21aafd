"""Writes files completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, never a part, even after a power cut.

    Args:
        path: the file; its folder is created if needed.
        data: the new content.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / 'runs' / 'state.bin', b'new')
        ...     (Path(folder) / 'runs' / 'state.bin').read_bytes()
        b'new'
    """
    with open_atomically(path) as file:
        file.write(data)


@contextmanager
def open_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces another in one step at the end of the `with` block, or not at all after an error.

    Args:
        path: the file; its folder is created if needed.

    Yields:
        The new file, open for writing.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with open(partial, 'wb') as file:
            yield file
            file.flush()
            # The content must be on the disk before the name points to it.
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if not hasattr(os, 'O_DIRECTORY'):  # Windows cannot open a folder
        return
    # A rename is on the disk only once its folder is.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
