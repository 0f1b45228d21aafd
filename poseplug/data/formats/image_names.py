"""Finds the images that labels name otherwise than they are on the disk: other folders, separators or letters' case."""

from __future__ import annotations

__all__ = ['describe_other_names', 'list_name_tails', 'locate_image']

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path, PureWindowsPath

from poseplug.files.letter_case import find_in_any_case

_MAX_FOLDERS = 12  # of a name; longer ones are addresses or texts
_MAX_NAME_BYTES = 255  # of a file; a longer one is an image as text, for which file systems raise an error


def locate_image(folder: Path, names: Iterable[str], subfolders: Sequence[str] = ('',)) -> str | None:
    """Find the first of some names below a folder.

    A name that is there as stated counts first, then one without its first folders, which may be those of another
    machine, then one in another case.

    Args:
        folder: of the images.
        names: of one image, relative or absolute, also with Windows' separators. One that leads out of the folder by
            `..` is looked for by what follows.
        subfolders: where below the folder images may be.

    Returns:
        The name below the folder, as it is on the disk; None if there is none.
    """
    tails = [list_name_tails(name) for name in names]
    # What is stated counts before what remains of another name.
    ordered = [name for candidates in zip_longest(*tails) for name in candidates if name]
    paths = [folder / subfolder / name for name in ordered for subfolder in subfolders]
    located = next((path for path in paths if path.is_file()), None)
    if located is None:
        others = (find_in_any_case(path) for path in paths)
        located = next((path for path in others if path is not None and path.is_file()), None)
    return None if located is None else located.relative_to(folder).as_posix()


def list_name_tails(name: str) -> list[str]:
    """List a name without its first folders, from the whole name to the last part, as names below a folder.

    Args:
        name: of a file; a backslash separates folders, too.

    Example:
        >>> list_name_tails('C:\\\\data\\\\day1\\\\a.jpg')
        ['data/day1/a.jpg', 'day1/a.jpg', 'a.jpg']
        >>> list_name_tails('../images/a.jpg')
        ['images/a.jpg', 'a.jpg']
    """
    path = PureWindowsPath(name) if '\\' in name else Path(name)
    parts = [part for part in path.parts if part != path.anchor]
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        return []
    first = max((i + 1 for i, part in enumerate(parts) if part == '..'), default=0)
    return ['/'.join(parts[i:]) for i in range(first, len(parts))][-_MAX_FOLDERS:]


def describe_other_names(names: Sequence[tuple[str, str]]) -> str:
    """Describe that images have other names than the labels state, for a note.

    Args:
        names: one pair at least of the name in the labels and that on the disk.
    """
    stated, located = names[0]
    return f'{len(names):,} images have another name than in the labels, the first is {located} for {stated}'
