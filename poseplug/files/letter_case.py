"""Finds files whose names differ from the stated ones in case or in Unicode form, as after a change of the system.

Windows and macOS do not tell `IMG_1.JPG` from `img_1.jpg`, and macOS decomposes accented letters; labels that were
made there name files in a form that other systems do not find.
"""

from __future__ import annotations

__all__ = ['find_in_any_case']

import os
from functools import lru_cache
from pathlib import Path

from poseplug.files.output_guard import fold_name

_MAX_LISTINGS = 64  # folders whose names are remembered


def find_in_any_case(path: Path) -> Path | None:
    """Find a file or folder by its name, or by the only name that differs from it in case or Unicode form.

    Args:
        path: of the file or folder, of which the folders may be written in another form, too.

    Returns:
        The path as it is on the disk; None if there is none, or several names differ in case alone.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / 'IMG_1.JPG').touch()
        >>> find_in_any_case(folder / 'img_1.jpg').name
        'IMG_1.JPG'
    """
    if path.exists():
        return path
    parent = None if path.parent == path else find_in_any_case(path.parent)
    if parent is None or not parent.is_dir():
        return None
    # The time of change is part of the key, since images may be added between two commands of one process.
    names = _list_folded_names(parent, parent.stat().st_mtime_ns).get(fold_name(path.name), [])
    return parent / names[0] if len(names) == 1 else None


@lru_cache(maxsize=_MAX_LISTINGS)
def _list_folded_names(folder: Path, mtime_ns: int) -> dict[str, list[str]]:
    """The names in a folder by their folded form."""
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder):
        names.setdefault(fold_name(name), []).append(name)
    return names
