"""The inputs of poseplug predict: which files a command line names, and how their outputs are called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poseplug.config.shipped import is_config_argument
from poseplug.core.errors import ConfigError, ImageError, compose_message
from poseplug.files.images import IMAGE_SUFFIXES
from poseplug.files.output_guard import InputGuard, NameSet, fold_name
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.result_files import RESULTS_STEM
from poseplug.predict.video import is_video

_NO_SUFFIX = 'no suffix'
# What follows the name of an input in the names of its outputs; images and videos have different ones.
_IMAGE_OUTPUT = re.compile(r'(_pose|_heatmaps(_\d+)?|_limbs(_\d+)?)\.jpg')
_VIDEO_OUTPUT = re.compile(r'_pose(\.partial)?\.[a-z0-9]+|\.(jsonl|csv)(\.partial)?')


@dataclass
class InputListing:
    """The files that a command line names.

    Attributes:
        files: images and videos, each once.
        names: of each file, the path without suffix that its outputs would have in the output folder.
        unread_counts: number of other files in the folders, by suffix.
        num_folders: number of folders in the folders that were not read.
        titles: what results call a file, such as its address, if not by its path.
    """

    files: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unread_counts: Counter[str] = field(default_factory=Counter)
    num_folders: int = 0
    titles: Mapping[Path, str] = field(default_factory=dict)

    def get_title(self, file: Path) -> str:
        """Return what results call a file."""
        return self.titles.get(file, str(file))

    def describe_unread(self) -> str:
        """Return in words what was not read, or an empty string."""
        parts = []
        if self.unread_counts:
            kinds = ', '.join(f'{count} {suffix}' for suffix, count in sorted(self.unread_counts.items()))
            parts.append(f'{self.unread_counts.total()} files of other formats were not read: {kinds}')
        if self.num_folders:
            parts.append(f'{self.num_folders} folders were not read; --recursive reads them too')
        return '; '.join(parts)


def split_arguments(inputs: Sequence[str]) -> tuple[tuple[str, str] | tuple[None, None], list[str]]:
    """Split a command's arguments into (config, checkpoint) and inputs.

    Args:
        inputs: the positional arguments; if the first one is a config, by its suffix or its name, the next is its
            checkpoint.

    Raises:
        ConfigError: a config without a checkpoint or without an input.

    Example:
        >>> split_arguments(['cpm.py', 'cpm.pth', 'a.jpg'])
        (('cpm.py', 'cpm.pth'), ['a.jpg'])
        >>> split_arguments(['a.jpg', 'b.jpg'])
        ((None, None), ['a.jpg', 'b.jpg'])
    """
    if not is_config_argument(inputs[0]):
        return (None, None), list(inputs)
    if len(inputs) < 3:
        raise ConfigError(f'after the config {inputs[0]} come its checkpoint and at least one image or video')
    return (inputs[0], inputs[1]), list(inputs[2:])


def list_input_files(inputs: Sequence[str | Path], out: Path, recursive: bool = False) -> InputListing:
    """List images and videos, with folders and patterns replaced by the images and videos in them.

    Args:
        inputs: files, folders and patterns such as 'photos/*.jpg'.
        out: the output folder, which must not be one of the inputs.
        recursive: whether the folders below a folder are read, too.

    Returns:
        Every file once, in the order of the inputs; those of a folder sorted. Hidden files of folders (`.name`) are
        ignored.

    Raises:
        ImageError: a folder is the output folder, cannot be read, or holds no image or video; a pattern fits no
            file; an input is an empty text.
    """
    listing = InputListing()
    for text in map(str, inputs):
        for path in _expand_pattern(text):
            if path.is_dir():
                _add_folder(listing, path, out, recursive)
            else:
                listing.files.append(path)
                listing.names.append(path.stem)
    # a file that is named twice, or by a pattern and a folder, is predicted once
    names_by_file: dict[Path, str] = {}
    for file, name in zip(listing.files, listing.names, strict=True):
        names_by_file.setdefault(file, name)
    listing.files, listing.names = list(names_by_file), list(names_by_file.values())
    return listing


def _expand_pattern(text: str) -> list[Path]:
    """The paths that a pattern fits; the path itself where it exists or is no pattern."""
    if not text.strip():
        raise ImageError('an input is an empty text, as of a shell variable that is not set; name a file or a folder')
    # Shells of Windows leave patterns to the program.
    if os.path.lexists(text) or not glob.has_magic(text) or '://' in text:
        return [Path(text)]
    paths = sorted(glob.glob(text, recursive=True))
    if not paths:
        raise ImageError(f'{text}: no file fits this pattern')
    return [Path(path) for path in paths]


def _add_folder(listing: InputListing, folder: Path, out: Path, recursive: bool) -> None:
    """Add the images and videos of a folder, and count its other files."""
    # drawings would lie beside the images, and be inputs of the next run
    if folder.resolve() == out.resolve():
        raise ImageError(f'{out} holds the images; name another folder for --out')
    files = _list_files(listing, folder, out.resolve(), recursive, set())
    listing.files += files
    listing.names += [file.relative_to(folder).with_suffix('').as_posix() for file in files]
    if not files:
        suffixes = ', '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        message = f'{folder} holds no image or video ({suffixes})'
        raise ImageError(compose_message(message, listing.describe_unread()))


def _list_files(
    listing: InputListing, folder: Path, out: Path, recursive: bool, visited: set[tuple[int, int]]
) -> list[Path]:
    """The images and videos of a folder, then those of the folders below it."""
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f'{folder}: {reason}; make the folder readable, or leave it out') from None
    # A link may lead back to a folder above; earlier drawings are no inputs.
    if (status.st_dev, status.st_ino) in visited or folder.resolve() == out:
        return []
    visited.add((status.st_dev, status.st_ino))
    # Hidden files are those of systems and editors, as `._photo.jpg`, in which macOS stores attributes of photo.jpg.
    entries = [entry for entry in entries if not entry.name.startswith('.')]
    files, folders = [], []
    for entry in entries:
        if entry.is_dir():
            folders.append(entry)
        elif entry.exists() and not entry.is_file():  # opening a pipe would wait for its writer, perhaps forever
            listing.unread_counts['pipe or device'] += 1
        elif entry.suffix.lower() in IMAGE_SUFFIXES or is_video(entry):
            files.append(entry)
        else:
            listing.unread_counts[entry.suffix.lower() or _NO_SUFFIX] += 1
    if not recursive:
        listing.num_folders += len(folders)
        return files
    for below in folders:
        files += _list_files(listing, below, out, recursive, visited)
    return files


def choose_output_names(listing: InputListing, out: Path, guard: InputGuard) -> list[str]:
    """Choose the names of all outputs, so that none is an input or the output of another input.

    Args:
        listing: the images and videos.
        out: the output folder.
        guard: recognizes the inputs.

    Returns:
        For each file the path below `out`, without suffix, from which its outputs are named: `NAME_pose.jpg`, ...

    Example:
        >>> listing = InputListing([Path('a.jpg'), Path('a.png')], ['a', 'a'])
        >>> choose_output_names(listing, Path('drawn'), InputGuard([]))
        ['a', 'a_2']
    """
    # Those of images end in _pose.jpg, those of videos in .jsonl, so that an image and a video may share a name.
    names_by_kind = {False: NameSet(), True: NameSet()}
    names_by_kind[True].add_name(RESULTS_STEM)  # of results.jsonl and results.csv
    input_names: dict[Path, list[str]] = {}
    output_names = []
    for file, name in zip(listing.files, listing.names, strict=True):
        folder = (out / name).parent
        if folder not in input_names:
            input_names[folder] = guard.list_input_names(folder)
        kind = is_video(file)
        pattern = _VIDEO_OUTPUT if kind else _IMAGE_OUTPUT
        is_taken = _build_name_test(input_names[folder], pattern)
        output_names.append(names_by_kind[kind].add_name(name, is_taken))
    return output_names


def _build_name_test(input_names: Sequence[str], pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """A function that says whether an output of a name would be one of the inputs in its folder."""

    def is_input(name: str) -> bool:
        # file systems of macOS and Windows ignore case, and macOS how accents are encoded
        start = fold_name(name.rpartition('/')[2])
        ends = [taken[len(start) :] for taken in input_names if taken.startswith(start)]
        return any(pattern.fullmatch(end) for end in ends)

    return is_input
