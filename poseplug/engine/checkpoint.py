"""Checkpoints that are whole or absent, hold plain data only, and are verified before they are believed.

A file is written beside its final name, flushed to the disk, and renamed. `checkpoints.json` beside the files says
which is the latest, and the size and SHA-256 of each; an old file is deleted after the new one is safe.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poseplug.errors import CheckpointError, UnsafeFileError

INDEX = 'checkpoints.json'


@dataclass
class Index:
    """What `checkpoints.json` says: the latest and the best file, and each file's size, SHA-256 and step."""

    latest: str | None = None
    best: str | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_index(folder: Path) -> Index:
    """The index of a folder, empty when there is none or it is damaged."""
    try:
        content = json.loads((folder / INDEX).read_text())
        return Index(content.get('latest'), content.get('best'), dict(content.get('files', {})))
    except (OSError, ValueError, AttributeError, TypeError):
        return Index()


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with open(partial, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(folder: Path, name: str, state: Mapping[str, Any], step: int, keep: int = 2, best: bool = False) -> Path:
    """Write one checkpoint and the index, then delete the oldest beyond `keep` (the best one always stays)."""
    import io

    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    data = buffer.getvalue()
    try:
        write_whole(folder / name, data)
        index = read_index(folder)
        index.files[name] = {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest(), 'step': step}
        index.best = name if best else index.best
        index.latest = index.latest if best else name
        spare = _spare(index, keep)
        index.files = {n: f for n, f in index.files.items() if n not in spare}
        write_whole(folder / INDEX, json.dumps(asdict(index), indent=1).encode())
    except OSError as error:
        raise CheckpointError(f'{folder / name}: {error.strerror or error}; earlier checkpoints are whole') from error
    for old in spare:
        (folder / old).unlink(missing_ok=True)
    return folder / name


def _spare(index: Index, keep: int) -> list[str]:
    """The oldest files beyond the `keep` newest, without the best and the latest."""
    ordinary = sorted((n for n in index.files if n != index.best), key=lambda n: index.files[n]['step'])
    return [n for n in ordinary[: max(0, len(ordinary) - keep)] if n != index.latest]


def latest(folder: Path) -> Path:
    """The newest checkpoint of a folder that verifies, or an error that says what was found."""
    index = read_index(folder)
    names = sorted(index.files, key=lambda n: index.files[n].get('step', -1), reverse=True)
    for name in names:
        if name != index.best and _sound(folder / name, index.files[name]):
            return folder / name
    raise CheckpointError(
        f'{folder} holds no checkpoint to resume from ({len(names)} listed in {INDEX}, none whole); '
        f'start without --resume, or name the --work-dir of the run'
    )


def load(path: Path | str) -> dict[str, Any]:
    """The content of a checkpoint: plain data only, never code; verified where its folder's index knows it."""
    path = Path(path)
    if path.is_dir():
        path = latest(path)
    if not path.is_file():
        raise CheckpointError(f'{path}: no such checkpoint')
    known = read_index(path.parent).files.get(path.name)
    if known and not _sound(path, known):
        raise CheckpointError(f'{path} is not the file that was saved: size or SHA-256 differ; use another checkpoint')
    if path.suffix == '.safetensors':
        return {'state_dict': load_safetensors(path)}
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise UnsafeFileError(
                f'{path} holds more than plain data and is refused ({str(error).splitlines()[0]}); convert it with '
                f'the program that wrote it'
            ) from error
        raise CheckpointError(f'{path} is not a checkpoint, or is damaged: {str(error).splitlines()[0]}') from error
    except Exception as error:
        raise CheckpointError(f'{path} is damaged or no checkpoint ({type(error).__name__}: {error})') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a checkpoint')
    return content if 'state_dict' in content else {'state_dict': content}


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
    content = load(path)
    given, wanted = content['state_dict'], model.state_dict()
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    shapes = [
        f'{k}: {tuple(given[k].shape)} in the file, {tuple(wanted[k].shape)} in the model'
        for k in sorted(wanted.keys() & given.keys())
        if given[k].shape != wanted[k].shape
    ]
    if missing or extra or shapes:
        parts = [('missing', missing), ('not in the model', extra), ('of another shape', shapes)]
        told = '; '.join(f'{len(v)} {n} (first: {v[0]})' for n, v in parts if v)
        raise CheckpointError(f'{path} is of another model than {type(model).__name__}: {told}. Use its own config')
    model.load_state_dict(given)
    return content


def plain(value: Any) -> Any:
    """The same content as tensors, numbers, strings, lists and dicts, so that it loads with an empty allow-list."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else list(map(plain, value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f'a checkpoint holds plain data only; found a {type(value).__name__}')


def _sound(path: Path, known: Mapping[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != known.get('bytes'):
        return False
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest() == known.get('sha256')
