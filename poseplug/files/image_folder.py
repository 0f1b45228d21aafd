"""Finds which images of an annotation file are in the folder of the images."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    if missing_images not in ('error', 'drop'):
        raise AnnotationError(f"{file}: missing_images is 'error' or 'drop'; got {missing_images!r}")
    # One listing of the folder instead of a look-up per image.
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    exists = np.array([n in present for n in names], dtype=bool)
    if missing_images == 'error' and not exists.all():
        first = names[int(np.argmin(exists))]
        raise AnnotationError(
            f'{file}: image {first} is missing in {folder}; {exists.sum():,} of {len(names):,} found. Restore it, or '
            f"pass missing_images='drop'"
        )
    return exists


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
        exists[rows] = find_existing_images(folder / parent, base_names, missing_images, file)
    if follow_links:
        return exists
    existing = [name for name, ok in zip(names, exists, strict=True) if ok]
    # Names that lead out are refused when they are read; links are the other way out.
    root = os.path.realpath(folder)
    for name in [*filter(None, dict.fromkeys(parents)), *existing]:
        path = os.path.join(folder, name)
        if os.path.islink(path) and os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise AnnotationError(
                f'{file}: {name} is a link that leads out of {folder}, to {os.path.realpath(path)}. If that is '
                f'meant, pass follow_links=True; else put the image there itself, or name the folder that contains it'
            )
    return exists
