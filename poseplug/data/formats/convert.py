"""Finds the format of labels, and converts them from one format to another."""

from __future__ import annotations

__all__ = ['convert_labels', 'find_label_format', 'is_label_path', 'read_labels']

import tempfile
from collections.abc import Sequence
from pathlib import Path

from poseplug.config.shipped import DATA_CONFIG_SUFFIXES
from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat, WriteReport
from poseplug.data.formats.checks import find_label_problems
from poseplug.data.formats.label_choice import check_label_rows
from poseplug.data.formats.label_collector import rebase_images
from poseplug.data.formats.other_tools import describe_other_format
from poseplug.registry import LABEL_FORMATS

_MAX_LEVELS_SEARCHED = 2  # of folders, for labels below the one that was named
_MAX_PATHS_TRIED = 200  # of a level: others may be images
_MAX_LISTED = 3  # in a message


def find_label_format(path: Path, name: str | None = None) -> LabelFormat:
    """Find the format of a file or folder.

    Args:
        path: the file or folder.
        name: of the format, if it is known.

    Raises:
        AnnotationError: the path does not exist, or is in none of the formats or in several.
        ConfigError: there is no format of this name.
    """
    if not path.exists():
        raise AnnotationError(f'{path}: no such file or folder')
    # The user's word counts: a damaged file matches no format, and its own format explains the damage best.
    if name is not None:
        return LABEL_FORMATS.build(dict(type=name))
    formats = [LABEL_FORMATS.build(dict(type=each)) for each in LABEL_FORMATS.list_names()]
    matching = [each for each in formats if each.matches(path)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ', '.join(each.name for each in matching)
        raise AnnotationError(f'{path} may be {names}; say which by --format')
    # Knowing what a file is helps more than the list of what it is not. Archives unpack into a folder of their own.
    inner = _find_inner_labels(path, formats)
    if inner:
        raise AnnotationError(f'{path}: the labels are not here, but in a file or folder below: name {inner}')
    other = describe_other_format(path)
    if other:
        raise AnnotationError(other)
    known = ', '.join(f'{each.name} ({each.title})' for each in formats)
    raise AnnotationError(f'{path} is in none of the formats that are known: {known}')


def _find_inner_labels(path: Path, formats: Sequence[LabelFormat]) -> str:
    """The nearest files or folders below a folder that are in a known format, each with its title; '' if none is."""
    level = [path] if path.is_dir() else []
    for _ in range(_MAX_LEVELS_SEARCHED):
        level = [inner for folder in level if folder.is_dir() for inner in sorted(folder.glob('[!.]*'))]
        level = level[:_MAX_PATHS_TRIED]
        matches = [(inner, each) for inner in level for each in formats if each.matches(inner)]
        if matches:
            listed = [f'{inner} ({each.title})' for inner, each in matches[:_MAX_LISTED]]
            return ' or '.join(listed) + (', ...' if len(matches) > _MAX_LISTED else '')
    return ''


def is_label_path(path: Path) -> bool:
    """Return whether a path holds labels; otherwise it is a config, or does not exist.

    Args:
        path: of a file or folder.
    """
    if path.is_dir():
        return True
    if not path.is_file() or path.suffix == '.py':
        return False
    if path.suffix not in DATA_CONFIG_SUFFIXES or describe_other_format(path):
        return True  # of a format that is not read; the error says so
    return any(LABEL_FORMATS.build(dict(type=name)).matches(path) for name in LABEL_FORMATS.list_names())


def read_labels(path: Path, format_name: str | None = None, image_folder: Path | None = None) -> LabeledImages:
    """Read the labels of a file or folder in any format.

    Args:
        path: the file or folder.
        format_name: of the format; None finds it by what the files contain.
        image_folder: the folder of the images; None looks where the format has them.

    Raises:
        AnnotationError: the format is not known, or the files are damaged.
    """
    return find_label_format(path, format_name).read(path, image_folder)


def convert_labels(
    path: Path,
    out: Path,
    target: str,
    format_name: str | None = None,
    image_folder: Path | None = None,
) -> tuple[LabeledImages, WriteReport]:
    """Convert labels to another format, with their images.

    Args:
        path: the file or folder to read.
        out: the folder to create; it must not exist, or be empty.
        target: name of the format to write: 'coco', 'yolo' or 'csv'.
        format_name: of the format to read; None finds it.
        image_folder: the folder of the images; None looks where the format has them.

    Returns:
        What was read, with what was dropped; and what was written, with what the format could not hold.

    Raises:
        AnnotationError: the files are damaged, `out` is not empty, or the format cannot be written.
    """
    # Before anything is read: large data sets take minutes.
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AnnotationError(f'{out} exists and is not an empty folder; name a new folder')
    source, writer = find_label_format(path, format_name), find_label_format(path, target)
    with tempfile.TemporaryDirectory() as extracted:
        if image_folder is None and source.extract_images(path, Path(extracted)):
            image_folder = Path(extracted)
        labels = source.read(path, image_folder)
        check_label_rows(labels)
        rebase_images(labels)
        report = writer.write(labels, out)
        report.problems = find_label_problems(labels)  # here, since extracted images are deleted
        return labels, report
