"""Keeps outputs from overwriting inputs: one rule for every command that writes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.files.data_roots import list_data_roots

# Bytes of a file name: file systems take 255, of which endings such as `_12_heatmaps_10.jpg.partial` need some.
_MAX_NAME_BYTES = 255 - 55
_WEIGHT_SUFFIXES = ('.pth', '.safetensors')  # files by which a folder is an input, as a work dir that names its newest


class InputGuard:
    """Recognizes the inputs of a command by the files themselves, whatever name or link leads to them.

    Args:
        inputs: files; of a folder its weights count. None and paths that do not exist are skipped.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / 'weights.pth'
        ...     _ = file.write_bytes(b'')
        ...     guard = InputGuard([file])
        ...     guard.find_input(Path(folder) / '..' / Path(folder).name / 'weights.pth') == file
        True
    """

    def __init__(self, inputs: Iterable[str | Path | None]):
        self._inputs: dict[tuple[int, int], Path] = {}
        for path in [Path(name) for name in inputs if name is not None]:
            files = [file for file in path.iterdir() if file.suffix in _WEIGHT_SUFFIXES] if path.is_dir() else [path]
            for file in files:
                if identity := _identify_file(file):
                    self._inputs.setdefault(identity, file)

    def find_input(self, output: Path) -> Path | None:
        """Return the input that writing to a path would overwrite, if there is one."""
        identity = _identify_file(output)
        return self._inputs.get(identity) if identity else None

    def check_outputs(self, outputs: Iterable[Path | None], option: str = '--out') -> None:
        """Check that no output is an input.

        Args:
            outputs: the files that are to be written; None is skipped.
            option: that names them, for the message.

        Raises:
            ConfigError: an output would overwrite an input.
        """
        for output in filter(None, outputs):
            if path := self.find_input(output):
                raise ConfigError(
                    f'{output} would be overwritten, but it is the input {path}; name another file for {option}'
                )

    def list_input_names(self, folder: Path) -> list[str]:
        """Return the names in a folder, as `fold_name` writes them, that lead to an input."""
        try:
            names = os.listdir(folder)
        except OSError:  # a folder that is yet to be created
            return []
        return [fold_name(name) for name in names if self.find_input(folder / name)]


def _identify_file(path: Path) -> tuple[int, int] | None:
    """Device and number of a file, equal for all names and links of it; None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a name with a zero byte
        return None
    # Not the path: links, '..' and another case on macOS and Windows lead to one file.
    return status.st_dev, status.st_ino


def check_outputs(inputs: Iterable[str | Path | None], outputs: Iterable[Path | None], option: str = '--out') -> None:
    """Check that no output of a command is one of its inputs.

    Args:
        inputs: as for `InputGuard`.
        outputs: as for `InputGuard.check_outputs`.
        option: that names the outputs, for the message.

    Raises:
        ConfigError: an output would overwrite an input.
    """
    InputGuard(inputs).check_outputs(outputs, option)


def check_dataset_outputs(cfg: Mapping[str, Any], outputs: Iterable[Path | None], option: str = '--out') -> None:
    """Check that no output file of a command is a folder or a file of a data set that its config reads.

    Args:
        cfg: a loaded config.
        outputs: the files that are to be written; None is skipped.
        option: that names them, for the message.

    Raises:
        ConfigError: an output is a folder, or exists in the folder of a data set: its `data_root`, or without one the
            folder of its name where data sets are looked for.
    """
    roots = [os.path.realpath(root) for root in _iter_data_roots(dict(cfg.items()))]
    for output in filter(None, outputs):
        path = os.path.realpath(output)
        if os.path.isdir(path):
            raise ConfigError(f'{output} is a folder; name a file in it for {option}')
        root = next((root for root in roots if path.startswith(os.path.join(root, ''))), None)
        if root is not None and os.path.isfile(path):
            raise ConfigError(
                f'{output} would be overwritten, but it is a file of the data set in {root}; name another file for '
                f'{option}'
            )


def check_new_folder(folder: Path) -> None:
    """Check that a folder to write does not exist, or is empty.

    Args:
        folder: the folder.

    Raises:
        ConfigError: it holds something, or is a file.
    """
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise ConfigError(f'{folder} exists already; name another folder, or remove it')


def _iter_data_roots(value: Any, is_source: bool = False) -> Iterator[str]:
    """The folders of all data sets of a config; `is_source` says whether the value is, or lists, sources."""
    if isinstance(value, Mapping):
        if isinstance(root := value.get('data_root'), (str, Path)):
            yield str(root)
        elif is_source:
            yield from _list_default_folders(value.get('type'))
        for key, item in value.items():
            yield from _iter_data_roots(item, key == 'sources')
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _iter_data_roots(item, is_source)


def _list_default_folders(source_type: Any) -> list[str]:
    """The folders where a source looks for its data set if it is given none."""
    from poseplug.registry import SOURCES  # here, since it imports NumPy, and every command's help this module

    source = SOURCES.find_part(source_type) if isinstance(source_type, str) else source_type
    name = getattr(source, 'name', None)
    # Other labels of the same set, such as observer-centric ones, have the name with a suffix.
    folders = (f for root in list_data_roots() if root.is_dir() for f in root.iterdir() if name and f.is_dir())
    return [str(folder) for folder in folders if folder.name == name or folder.name.startswith(f'{name}_')]


def fold_name(name: str) -> str:
    """Fold a file name so that names of one file are equal on file systems that ignore case and composition.

    Example:
        >>> fold_name('Cafe\u0301.JPG') == fold_name('caf\u00e9.jpg')
        True
    """
    # Composed again, since folding the case may decompose letters.
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', name).casefold())


def make_names_unique(names: Iterable[str]) -> list[str]:
    """Make names unique by appending `_2`, `_3`, ... to repeated ones; upper and lower case count as equal.

    Example:
        >>> make_names_unique(['a', 'b', 'a', 'A'])
        ['a', 'b', 'a_2', 'A_3']
    """
    return NameSet().add_names(names)


def _shorten_name(name: str) -> str:
    """A path whose last part leaves room for the endings of outputs."""
    folder, slash, stem = name.rpartition('/')
    # Cut between characters: half of one is no UTF-8, which some programs refuse to read.
    while len(os.fsencode(stem)) > _MAX_NAME_BYTES:
        stem = stem[:-1]
    return f'{folder}{slash}{stem}'


class NameSet:
    """Names that are taken, of which `add_name` makes further ones that differ from all of them."""

    def __init__(self) -> None:
        self._folded: set[str] = set()
        self._counts: dict[str, int] = {}

    def add_name(self, name: str, is_taken: Callable[[str], bool] = lambda _: False) -> str:
        """Take a name, with a number appended if it is taken already.

        Args:
            name: the name that is asked for.
            is_taken: whether a name is taken otherwise.

        Returns:
            The name, or the name with `_2`, `_3`, ... appended. A name that is too long for a file with the endings of
            outputs is cut.
        """
        name = _shorten_name(name)
        folded = fold_name(name)
        unique_name, count = name, self._counts.get(folded, 1)
        while fold_name(unique_name) in self._folded or is_taken(unique_name):
            count += 1
            unique_name = f'{name}_{count}'
        self._counts[folded] = count
        self._folded.add(fold_name(unique_name))
        return unique_name

    def add_names(self, names: Iterable[str]) -> list[str]:
        """Take several names in order."""
        return [self.add_name(name) for name in names]
