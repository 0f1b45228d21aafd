"""Checkpoints that are whole or absent, hold plain data only, and are verified before they are believed.

A file is written beside its final name, flushed to the disk, and renamed. `checkpoints.json` beside the files says
which is the latest, and size, SHA-256 and CRC-32 of each; an old file is deleted after the new one is safe. A resume
looks at the SHA-256, and whatever else reads a file at its CRC-32; the pages that are read for it are those that
become tensors, so that a file is read once.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import mmap
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poseplug.core.errors import CheckpointError, UnsafeFileError, suggest_closest
from poseplug.files.atomic import write_atomically
from poseplug.files.fetch import fetch_pinned_url

CHECKPOINT_INDEX_FILE = 'checkpoints.json'
BEST_CHECKPOINT_FILE = 'best.pth'
_LOGGER = logging.getLogger('poseplug')


@dataclass
class CheckpointIndex:
    """What `checkpoints.json` says: the latest and the best file, and each file's size, sums and step."""

    latest: str | None = None
    best: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_checkpoint_index(folder: Path) -> CheckpointIndex:
    """The index of a folder, empty when there is none or it is damaged; it can name files of that folder only."""
    try:
        content = json.loads((folder / CHECKPOINT_INDEX_FILE).read_text())
        files = {n: dict(f) for n, f in content['files'].items() if Path(n).name == n and isinstance(f['step'], int)}
        return CheckpointIndex(content['latest'], content['best'], files)
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return CheckpointIndex()


def save_checkpoint(
    folder: Path, file_name: str, content: Mapping[str, Any], step: int, max_keep_ckpts: int = 2, is_best: bool = False
) -> Path:
    """Write one checkpoint and the index, then delete the oldest beyond `keep` (the best one always stays)."""
    buffer = io.BytesIO()
    torch.save(to_plain_data(content), buffer)
    data = buffer.getvalue()
    index = read_checkpoint_index(folder)
    before = _list_versions(index.files.get(file_name, {}))
    sums = {'sha256': hashlib.sha256(data).hexdigest(), 'crc32': zlib.crc32(data)}
    index.files[file_name] = {'bytes': len(data), **sums, 'step': step}
    index.best = file_name if is_best else index.best
    index.latest = index.latest if is_best else file_name
    spare = _find_surplus_files(index, max_keep_ckpts)
    index.files = {n: f for n, f in index.files.items() if n not in spare}
    try:
        if before:  # whichever file is there when this is cut off, the index knows it
            _write_checkpoint_index(
                folder, replace(index, files={**index.files, file_name: {**index.files[file_name], 'previous': before}})
            )
        write_atomically(folder / file_name, data)
        _write_checkpoint_index(folder, index)
    except OSError as error:
        raise CheckpointError(
            f'{folder / file_name} cannot be written: {error.strerror or error}; earlier checkpoints are whole. Make '
            f'room or the folder writable, and go on with --resume'
        ) from error
    for old in spare:
        (folder / old).unlink(missing_ok=True)
    return folder / file_name


def _write_checkpoint_index(folder: Path, index: CheckpointIndex) -> None:
    write_atomically(folder / CHECKPOINT_INDEX_FILE, json.dumps(asdict(index), indent=1).encode())


def _list_versions(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Size and sums of each file that may lie under a name of the index: more than one while it is written again."""
    before = entry.get('previous')
    kinds = [entry, *(before if isinstance(before, list) else [])]
    return [
        {k: kind.get(k) for k in ('bytes', 'sha256', 'crc32')} for kind in kinds if isinstance(kind, Mapping) and kind
    ]


def _find_surplus_files(index: CheckpointIndex, max_keep_ckpts: int) -> list[str]:
    """The oldest files beyond the `keep` newest, without the best and the latest."""
    ordinary = sorted((n for n in index.files if n != index.best), key=lambda n: index.files[n]['step'])
    return [n for n in ordinary[: max(0, len(ordinary) - max_keep_ckpts)] if n != index.latest]


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder that a run can go on from, the newest first; the best one is the last resort."""
    return sorted(folder.glob('step_*.pth'), reverse=True) + [*folder.glob(BEST_CHECKPOINT_FILE)]


def find_latest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a folder that verifies, or an error that says what was found.

    A file that the index does not know (it was lost, or the folder was put together by hand) is verified by its own
    checksums. Damaged ones that are passed over are told.
    """
    index, found = read_checkpoint_index(folder), list_checkpoints(folder)
    for place, file in enumerate(found):
        if zipfile.is_zipfile(file) and _is_intact(file, index.files.get(file.name), _compute_sha256, 'sha256'):
            if place:
                names = ', '.join(f.name for f in found[:place])
                _LOGGER.warning('%s: passed over, damaged: %s; the newest whole one is %s', folder, names, file.name)
            return file
    raise CheckpointError(
        f'{folder} holds no checkpoint to resume from (of {len(found)} files none is whole); '
        f'start without --resume or --init, or name the folder of another run'
    )


def remove_partial_files(folder: Path) -> None:
    """Remove what a save that was cut off has left behind."""
    for partial in folder.glob('.*.partial'):
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """The content of a checkpoint: plain data only, never code; verified by its folder's index or its own checksums.

    `path` is a file, a work dir for its newest, or `URL#sha256=DIGITS` (poseplug/files/fetch.py).
    """
    path = fetch_pinned_url(path) if isinstance(path, str) and '://' in path else Path(path)
    if path.is_dir():
        path = find_latest_checkpoint(path)
    if not path.is_file():
        near = suggest_closest(path.name, [f.name for f in path.parent.glob('*.pth')] if path.parent.is_dir() else [])
        raise CheckpointError(f'{path}: no such checkpoint; {near or "train one with tools/train.py"}')
    if path.suffix == '.safetensors':
        return {'state_dict': load_safetensors(path)}
    content = _load_verified(path, read_checkpoint_index(path.parent).files.get(path.name))
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a checkpoint')
    return content if 'state_dict' in content else {'state_dict': content}


def _load_verified(path: Path, entry: Mapping[str, Any] | None) -> Any:
    """The content of a file that is as it was saved; nothing of it is believed before that was looked at."""
    if not _is_intact(path, entry):
        raise CheckpointError(
            f'{path} is damaged: size or checksums differ from what was saved; use another checkpoint'
        )
    return _load_plain_data(path)


def _load_plain_data(path: Path) -> Any:
    """The plain data of a file; its tensors are the pages that were summed, as long as nobody writes to them.

    A file that is replaced or deleted meanwhile leaves them as they are. Windows would not let go of it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            mapped = sys.platform != 'win32' and zipfile.is_zipfile(path)
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)
    except Exception as error:
        code = re.search(r'GLOBAL (\S+)', str(error))
        if code:
            raise UnsafeFileError(
                f'{path} holds more than plain data: it asks for {code[1]}, which could run code. It is refused; '
                f'convert it with the program that wrote it'
            ) from error
        raise CheckpointError(f'{path} is damaged or no checkpoint; use another checkpoint') from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is damaged or no safetensors file ({error})') from error


def load_weights(model: nn.Module, path: Path | str) -> dict[str, Any]:
    """Put a checkpoint's weights into a model, all of them, and return its content; another model's are an error."""
    content = load_checkpoint(path)
    adapt_state_dict(model, content['state_dict'])
    check_state_dict(model, content['state_dict'], path)
    model.load_state_dict(content['state_dict'])
    return content


def adapt_state_dict(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Let every module that has `adapt_weights(state, prefix)` bring the weights below `prefix` to its own size.

    That is done in place: a position embedding, say, is resized from the input that it was trained for.
    """
    for name, module in model.named_modules():
        if hasattr(module, 'adapt_weights'):
            module.adapt_weights(state_dict, f'{name}.' if name else '')


def check_state_dict(model: nn.Module, state_dict: Mapping[str, Any], path: Path | str) -> None:
    """Raise unless weights have the names and shapes of a model's; the message says what differs."""
    wanted = model.state_dict()
    tensors = {k: v for k, v in state_dict.items() if isinstance(v, Tensor)}
    shapes = find_shape_mismatches(wanted, tensors)
    missing, extra = [k for k in wanted if k not in tensors], [k for k in state_dict if k not in wanted]
    parts = [('missing', missing), ('not in the model', extra), ('of another shape', shapes)]
    told = '; '.join(f'{len(v)} {n} (first: {v[0]})' for n, v in parts if v)
    if told:
        raise CheckpointError(
            f"{path} is not of the config's model ({len(wanted)} tensors): {told}. Use the config it was trained with"
        )


def find_shape_mismatches(expected: Mapping[str, Tensor], state_dict: Mapping[str, Tensor]) -> list[str]:
    """The tensors that are given in another shape than wanted, each with both."""
    return [
        f'{k}: {tuple(state_dict[k].shape)} in the file, {tuple(v.shape)} in the model'
        for k, v in expected.items()
        if k in state_dict and state_dict[k].shape != v.shape
    ]


def to_plain_data(value: Any) -> Any:
    """The same content as tensors, numbers, strings, lists and dicts, so that it loads with an empty allow-list."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {k: to_plain_data(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return (
            type(value)(map(to_plain_data, value)) if type(value) in (list, tuple) else list(map(to_plain_data, value))
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f'a checkpoint holds plain data only; found a {type(value).__name__}')


def _compute_sha256(path: Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _compute_crc32(path: Path) -> int:
    """A weaker sum than SHA-256, and ten times as fast: it finds what a disk does to a file, not what a person does."""
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return zlib.crc32(content)


def _is_intact(
    path: Path,
    entry: Mapping[str, Any] | None,
    compute_checksum: Callable[[Path], Any] = _compute_crc32,
    checksum_key: str = 'crc32',
) -> bool:
    """Whether a file is as it was saved: by size and sum where they are known, or by the archive's own checksums."""
    try:
        kinds = [kind for kind in _list_versions(entry or {}) if kind[checksum_key] is not None]
        if not kinds:
            return not zipfile.is_zipfile(path) or zipfile.ZipFile(path).testzip() is None
        fitting = [kind for kind in kinds if kind['bytes'] == path.stat().st_size]
        return bool(fitting) and compute_checksum(path) in [kind[checksum_key] for kind in fitting]
    except Exception:  # what zipfile raises of a damaged archive has many names
        return False
