"""The inputs of a job over many images: folders, patterns, tar files, lists of paths, and tables of paths."""

from __future__ import annotations

__all__ = ['list_bulk_inputs']

import logging
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError, ImageError
from poseplug.files.images import IMAGE_SUFFIXES
from poseplug.files.live_sources import LIVE_SCHEMES, describe_address
from poseplug.files.parquet_table import check_parquet
from poseplug.files.tar_images import COMPRESSED_SUFFIXES, TAR_SUFFIX, list_tar_images
from poseplug.files.video_reader import VIDEO_SUFFIXES
from poseplug.predict.input_files import list_input_files

_LIST_SUFFIX, _TABLE_SUFFIX = '.txt', '.parquet'
_PATH_COLUMNS = ('image', 'path', 'file', 'file_name', 'url', 'address')  # the first one that a table has is read


def list_bulk_inputs(inputs: Sequence[str], out: Path, recursive: bool = False) -> list[str]:
    """List the images that a command line names, without opening them; of tar files at addresses copies are fetched.

    Args:
        inputs: images, folders, patterns, tar files (.tar), folders of them, addresses of images and of tar files,
            lists (.txt, one path or address a line) and tables (.parquet).
        out: the output folder, which must not be one of the inputs.
        recursive: whether the folders below a folder are read, too.

    Returns:
        Every path or address once, in the order of the inputs; those of a folder sorted, those of a tar file as they
        are in it.

    Raises:
        ImageError: a folder, a list, a tar file or a pattern holds no image, or cannot be read.
        ConfigError: an input is a video or a stream, or a table has no column of paths.
    """
    listed: dict[str, None] = {}  # a set that keeps the order
    for text in inputs:
        listed.update(dict.fromkeys(_expand_input(text, out, recursive)))
    for path in listed:
        # by the name alone: opening 10^8 files would take hours before the first is predicted
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            raise ConfigError(
                f'{path} is a video; --engine predicts images, leave it out or predict it without --engine'
            )
    return list(listed)


def _expand_input(text: str, out: Path, recursive: bool) -> Iterable[str]:
    suffix = Path(text).suffix.lower()
    is_camera = text == '-' or (text.isdecimal() and not os.path.lexists(text))
    if is_camera or text.partition('://')[0].lower() in LIVE_SCHEMES:
        raise ConfigError(
            f'{describe_address(text)} is a stream; --engine predicts images of files, folders, lists and addresses'
        )
    if '://' in text:
        if suffix in (_LIST_SUFFIX, _TABLE_SUFFIX):
            raise ConfigError(f'{describe_address(text)}: a list at an address is not read; fetch it and name the file')
        return _expand_file(text)
    if suffix in (_LIST_SUFFIX, _TABLE_SUFFIX):
        paths = _read_list(Path(text)) if suffix == _LIST_SUFFIX else _read_table(Path(text))
        if not paths:
            raise ImageError(f'{text}: a list without a path; write one path a line')
        return chain.from_iterable(map(_expand_file, paths))
    if shards := _list_shards(Path(text)):
        return chain.from_iterable(list_tar_images(str(shard)) for shard in shards)
    listing = list_input_files([text], out, recursive)
    if unread := listing.describe_unread():
        logging.getLogger('poseplug').warning(unread)
    return chain.from_iterable(map(_expand_file, map(str, listing.files)))


def _expand_file(text: str) -> list[str]:
    """The images of a tar file; any other file itself, which is not opened."""
    name = text.lower()
    if name.endswith(COMPRESSED_SUFFIXES):
        raise ImageError(f'{text} is a compressed archive; unpack it and name the .tar file or the folder of images')
    return list_tar_images(text) if name.endswith(TAR_SUFFIX) else [text]


def _list_shards(folder: Path) -> list[Path]:
    """The tar files of a folder that holds no image beside them."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    # hidden ones are those of systems, as `._shard.tar`, in which macOS stores attributes of shard.tar
    return [file for file in files if file.suffix.lower() == TAR_SUFFIX and not file.name.startswith('.')]


def _read_list(file: Path) -> list[str]:
    try:
        # names that are no UTF-8 stay what the file system has; editors of Windows begin a file with U+FEFF
        lines = file.read_text(encoding='utf-8-sig', errors='surrogateescape').splitlines()
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f'{file}: {reason}; name a list of paths, one a line') from None
    return [line.strip() for line in lines if line.strip()]


def _read_table(file: Path) -> list[str]:
    package = check_parquet()
    try:
        table: Any = _load_table(package, file)
    except (OSError, ValueError) as error:  # pyarrow's errors of damaged files are of these classes
        raise ImageError(f'{file}: no Parquet file that {package} can read ({error})') from None
    columns = list(table.column_names if package == 'pyarrow' else table.columns)
    name = next((name for name in _PATH_COLUMNS if name in columns), None)
    if name is None:
        known = ', '.join(_PATH_COLUMNS)
        raise ConfigError(f'{file}: none of its columns ({", ".join(columns)}) has paths; name one of them {known}')
    values = table[name].to_pylist() if package == 'pyarrow' else table[name].to_list()
    if None in values:
        raise ImageError(f'{file}: row {values.index(None)} has no {name}; remove the row')
    return [str(value) for value in values]


def _load_table(package: str, file: Path) -> Any:
    if package == 'pyarrow':
        return import_module('pyarrow.parquet').read_table(file)
    return import_module('polars').read_parquet(file)
