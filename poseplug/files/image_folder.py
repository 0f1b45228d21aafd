"""Finds which images of an annotation file are in the folder of the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from poseplug.core.errors import AnnotationError


def find_existing_images(folder: Path, names: list[str], missing_images: str, file: Path) -> np.ndarray:
    """Find which images a folder contains, without those in folders below it.

    Args:
        folder: the folder of the images.
        names: n file names, without folders.
        missing_images: 'error' refuses a missing image, 'drop' leaves it out.
        file: the annotation file, for error messages.

    Returns:
        (n,) bool.

    Raises:
        AnnotationError: an image is missing, or `missing_images` is another word.
    """
    return _find_listed_images(_list_folder(folder), folder, names, missing_images, file)


def _find_listed_images(
    listing: Mapping[str, bool], folder: Path, names: list[str], missing_images: str, file: Path
) -> np.ndarray:
    """Find which images the listing of a folder contains; arguments and errors are those of `find_existing_images`."""
    if missing_images not in ('error', 'drop'):
        raise AnnotationError(f"{file}: missing_images is 'error' or 'drop'; got {missing_images!r}")
    exists = np.array([name in listing for name in names], dtype=bool)
    if missing_images == 'error' and not exists.all():
        first = names[int(np.argmin(exists))]
        raise AnnotationError(
            f'{file}: image {first} is missing in {folder}; {exists.sum():,} of {len(names):,} found. Restore it, or '
            f"pass missing_images='drop'"
        )
    return exists


def _list_folder(folder: Path) -> dict[str, bool]:
    """The names in a folder, and whether each is a link; one listing instead of a look-up per image."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.is_symlink() for entry in entries}


def find_images(
    folder: Path, names: Sequence[str], missing_images: str, file: Path, follow_links: bool = False
) -> np.ndarray:
    """Find which images a folder and the folders below it contain.

    Args:
        folder: the folder of the images.
        names: n names, checked by `poseplug.files.json_file.check_image_names`.
        missing_images: 'error' refuses a missing image, 'drop' leaves it out.
        file: the annotation file, for error messages.
        follow_links: whether images may be links that lead out of the folder.

    Returns:
        (n,) bool.

    Raises:
        AnnotationError: an image is missing, or a link leads out of the folder.
    """
    exists = np.zeros(len(names), dtype=bool)
    parents = np.array([os.path.dirname(name) for name in names], dtype=object)
    for parent in dict.fromkeys(parents):
        rows = np.flatnonzero(parents == parent).tolist()
        base_names = [os.path.basename(names[i]) for i in rows]
        listing = _list_folder(folder / parent)
        exists[rows] = _find_listed_images(listing, folder / parent, base_names, missing_images, file)
        if not follow_links:
            links = [os.path.join(parent, name) for name in base_names if listing.get(name)]
            _check_links(folder, [parent, *links], file)
    return exists


def _check_links(folder: Path, names: list[str], file: Path) -> None:
    """Refuse links that lead out of a folder. Names that lead out are refused when they are read."""
    # With all links resolved on both sides, since the folder itself may be reached through one.
    root = os.path.realpath(folder)
    for name in names:
        path = os.path.realpath(os.path.join(folder, name))
        if os.path.commonpath([root, path]) != root:
            raise AnnotationError(
                f'{file}: {name} is a link that leads out of {folder}, to {path}. If that is meant, pass '
                f'follow_links=True; else put the image there itself, or name the folder that contains it'
            )
