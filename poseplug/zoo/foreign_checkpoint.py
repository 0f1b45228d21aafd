"""Checkpoints of other projects, read without running any code in them, and the keypoints that they name."""

from __future__ import annotations

__all__ = ['KEYPOINT_NAMES_FILE', 'read_dataset_meta', 'read_foreign_checkpoint']

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion as Version

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.files.skeleton_record import SkeletonRecord
from poseplug.files.weights import load_checkpoint
from poseplug.registry.skeletons import get_skeleton

# Older versions can be made to run code by a crafted file in spite of weights_only (CVE-2025-32434, CVE-2026-24747).
MIN_TORCH_FOR_FOREIGN_FILES = '2.10'
_HUB_FILES = ('model.safetensors', 'pytorch_model.bin')  # as transformers calls them
KEYPOINT_NAMES_FILE = Path(__file__).parent / 'keypoint_names.json'

# Objects that OpenMMLab's trainers pickle beside the weights: names and colors of data sets, and the log's numbers.
IGNORED_GLOBALS = (
    'numpy.dtype',
    'numpy.ndarray',
    'numpy._core.multiarray._reconstruct',
    'numpy._core.multiarray.scalar',
    'numpy.core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
    'mmengine.logging.history_buffer.HistoryBuffer',
    'builtins.getattr',
)


def read_foreign_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint of another project without running any code in it.

    Args:
        path: a .pth or .safetensors file, or a folder of the Hugging Face Hub with `model.safetensors`.
        trust: accept a file of MMEngine's trainer, whose log and NumPy objects (`IGNORED_GLOBALS`) are replaced by
            empty objects and not run; and any file under an old PyTorch.

    Returns:
        Its content, with the weights under 'state_dict'.

    Raises:
        UnsafeFileError: the file holds more than plain data, or PyTorch is too old to read it safely.
        CheckpointError: the file holds no weights.
    """
    path = _find_file(path)
    is_old_torch = Version(torch.__version__) < Version(MIN_TORCH_FOR_FOREIGN_FILES)
    if not trust and path.suffix != '.safetensors' and is_old_torch:
        raise UnsafeFileError(
            f'{path} is foreign, and PyTorch {torch.__version__} can be made to run code by such a file '
            f'(CVE-2025-32434, CVE-2026-24747). Install torch>={MIN_TORCH_FOR_FOREIGN_FILES}, or add --trust if you '
            f'know its origin'
        )
    try:
        # Even a trusted file is loaded with weights_only=True: what else it asks for is refused.
        with _replace_ignored_globals() if trust else nullcontext():
            content = load_checkpoint(path)
    except UnsafeFileError as error:
        # Only for what `trust` would change: other objects are refused either way.
        if trust or not any(f' {name}, ' in str(error) for name in IGNORED_GLOBALS):
            raise
        raise UnsafeFileError(
            f'{path} keeps more than weights, as files of MMEngine do, and is refused as it is. If you know its '
            f'origin, add --trust: everything beside the weights is then ignored, still without running it'
        ) from error
    weights = content['state_dict']
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f'{path} has no weights: its state_dict is more or other than tensors by name')
    quantized = [name for name, value in weights.items() if value.is_quantized]
    if quantized:
        raise CheckpointError(
            f'{path}: {len(quantized)} of {len(weights)} tensors are quantized (first: {quantized[0]}); convert the '
            f'checkpoint that was quantized'
        )
    return content


def _find_file(path: Path) -> Path:
    """The file of weights of a folder that is one model of the Hugging Face Hub; other paths as they are."""
    if not path.is_dir():
        return path
    file = next((path / name for name in _HUB_FILES if (path / name).is_file()), None)
    if file is None:
        raise CheckpointError(f'{path} is a folder without {" or ".join(_HUB_FILES)}; name the file of weights in it')
    return file


class IgnoredObject:
    """Stands for an ignored object of a foreign file: accepts any arguments and keeps nothing."""

    def __new__(cls, *_: Any) -> IgnoredObject:
        return super().__new__(cls)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


@contextmanager
def _replace_ignored_globals() -> Iterator[None]:
    """While active, loading creates an `IgnoredObject` instead of calling what `IGNORED_GLOBALS` names."""
    with torch.serialization.safe_globals([(IgnoredObject, name) for name in IGNORED_GLOBALS]):
        yield


def read_dataset_meta(meta: Any) -> SkeletonRecord | None:
    """Read the keypoints that a checkpoint of MMPose 1.x names (`meta.dataset_meta`).

    Args:
        meta: the checkpoint's `meta`.

    Returns:
        Names, flip pairs and sigmas, of which the file may lack the latter two; None if it names no keypoints. Names
        that MMPose has for a keypoint of ours are replaced.
    """
    dataset_meta: Any = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    names_by_index: Any = dataset_meta.get('keypoint_id2name') if isinstance(dataset_meta, Mapping) else None
    has_names = isinstance(names_by_index, Mapping) and bool(names_by_index)
    if not has_names or not all(isinstance(index, int) for index in names_by_index):
        return None
    names = [str(names_by_index[index]) for index in sorted(names_by_index)]
    # As a whole list: a single name such as `neck` may mean different points in two data sets.
    keypoints = _read_other_keypoint_names().get(tuple(map(normalize_keypoint_name, names)), names)
    flip_indices = _read_numbers(dataset_meta.get('flip_indices'), len(names))
    flip_pairs = None
    if flip_indices is not None:
        # Each pair once; a keypoint that is its own counterpart has none.
        pairs = [(i, int(j)) for i, j in enumerate(flip_indices) if i < j < len(names)]
        flip_pairs = tuple((keypoints[i], keypoints[j]) for i, j in pairs)
    sigmas = _read_numbers(dataset_meta.get('sigmas'), len(names))
    name = str(dataset_meta.get('dataset_name', 'the file'))
    return SkeletonRecord(name, tuple(keypoints), flip_pairs, None if sigmas is None else tuple(sigmas))


@cache
def _read_other_keypoint_names() -> dict[tuple[str, ...], list[str]]:
    """The keypoints of skeletons that MMPose spells otherwise, by MMPose's names."""
    content = json.loads(KEYPOINT_NAMES_FILE.read_text(encoding='utf-8'))
    return {
        tuple(map(normalize_keypoint_name, names)): [*get_skeleton(key).keypoints] for key, names in content.items()
    }


def _read_numbers(value: Any, count: int) -> list[float] | None:
    """As many numbers, or None; NumPy's arrays are not read (`IgnoredObject`)."""
    if isinstance(value, Tensor):
        value = value.tolist()
    is_list = isinstance(value, Sequence) and len(value) == count
    return [float(n) for n in value] if is_list and all(isinstance(n, int | float) for n in value) else None
