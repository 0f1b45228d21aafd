"""Saves checkpoints: each file is complete or absent, and holds plain data only.

A file is written beside its final name, flushed to the disk, and renamed; then the index of the folder
(`poseplug.files.checkpoint_folder`) is replaced in the same way. Old files are deleted last.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.core.errors import CheckpointError
from poseplug.files.atomic import write_atomically
from poseplug.files.checkpoint_folder import (
    CHECKPOINT_INDEX_FILE,
    CheckpointIndex,
    IndexedCheckpoint,
    read_checkpoint_index,
)


def save_checkpoint(
    folder: Path, file_name: str, content: Mapping[str, Any], step: int, max_keep_ckpts: int = 2, is_best: bool = False
) -> Path:
    """Write a checkpoint and the folder's index, then delete the oldest files.

    Args:
        folder: the work dir.
        file_name: name of the file; an existing one is replaced.
        content: the values to save; `to_plain_data` converts them.
        step: number of training steps so far.
        max_keep_ckpts: number of files to keep, in addition to the best one.
        is_best: whether this file is the best one, rather than the latest.

    Returns:
        Path of the file.

    Raises:
        CheckpointError: a file cannot be written (earlier ones are intact), or the content is not plain data.
    """
    buffer = io.BytesIO()
    torch.save(to_plain_data(content), buffer)
    data = buffer.getvalue()
    # Steps: 1. the whole file in memory, whose checksum the index needs; 2. index; 3. file; 4. index; 5. old files.
    index = read_checkpoint_index(folder)
    replaced_entry = index.files.get(file_name)
    entry = IndexedCheckpoint(step, [zlib.crc32(data)])
    index.files[file_name] = entry
    index.best = file_name if is_best else index.best
    index.latest = index.latest if is_best else file_name
    surplus = _find_surplus_files(index, max_keep_ckpts)
    index.files = {name: indexed for name, indexed in index.files.items() if name not in surplus}
    try:
        if replaced_entry:
            # An interruption can leave the old or the new file, so the index lists the checksums of both until then.
            either_entry = replace(entry, crc32=[*entry.crc32, *replaced_entry.crc32])
            _write_checkpoint_index(folder, replace(index, files={**index.files, file_name: either_entry}))
        write_atomically(folder / file_name, data)
        _write_checkpoint_index(folder, index)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(
            f'{folder / file_name} cannot be written: {reason}; earlier checkpoints are intact. Free some space or '
            f'make the folder writable, and continue with --resume'
        ) from error
    # after the index that no longer lists them, so that an interruption leaves a file too many and never one too few
    for name in surplus:
        (folder / name).unlink(missing_ok=True)
    return folder / file_name


def _write_checkpoint_index(folder: Path, index: CheckpointIndex) -> None:
    write_atomically(folder / CHECKPOINT_INDEX_FILE, json.dumps(asdict(index), indent=1).encode())


def _find_surplus_files(index: CheckpointIndex, max_keep_ckpts: int) -> list[str]:
    """The oldest files beyond the `max_keep_ckpts` newest, without the best and the latest."""
    candidates = [name for name in index.files if name != index.best]
    candidates.sort(key=lambda name: index.files[name].step)
    num_surplus = max(0, len(candidates) - max_keep_ckpts)
    return [name for name in candidates[:num_surplus] if name != index.latest]


def remove_partial_files(folder: Path) -> None:
    """Remove the incomplete files that an interrupted save has left in a folder."""
    for partial in folder.glob('.*.partial'):
        partial.unlink(missing_ok=True)


def to_plain_data(value: Any) -> Any:
    """Convert a value to plain data, which torch loads with `weights_only=True` and an empty allow-list.

    Args:
        value: tensors, NumPy numbers and arrays, Python's own values, and mappings, lists and tuples of them.

    Returns:
        The same content as CPU tensors, numbers, strings, dicts, lists and tuples.

    Raises:
        CheckpointError: the value contains an object of another type.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    # bool, signed and unsigned integers, floats; arrays of objects or text would need pickle
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: to_plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        plain_items = [to_plain_data(item) for item in value]
        # a named tuple is a class of its own, which `weights_only=True` refuses; it becomes a list
        return tuple(plain_items) if type(value) is tuple else plain_items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f'a checkpoint holds plain data only; found a {type(value).__name__}')
