"""Reads weights from files, and loads them into a module.

A file is verified before it is used, and holds plain data only: nothing in it can run code.
"""

from __future__ import annotations

import re
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from poseplug.core.errors import CheckpointError, UnsafeFileError, suggest_closest
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.core.weight_names import weight_name
from poseplug.files.checkpoint_folder import find_latest_checkpoint, is_intact
from poseplug.files.fetch import fetch_pinned_url
from poseplug.files.file_kinds import describe_file_kind
from poseplug.files.model_record import warn_of_changed_model
from poseplug.files.skeleton_record import (
    SkeletonRecord,
    check_keypoints,
    read_skeleton_record,
    warn_of_unnamed_keypoints,
)
from poseplug.files.weight_checks import check_finite_weights, check_state_dict, list_part_names
from poseplug.files.wrapped_names import extract_weights, remove_wrapper_names

WeightKind = Literal['averaged', 'raw']
_AVERAGED_MODEL_PREFIX = 'module.'  # before the names in 'ema_state_dict'


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a file of weights or a checkpoint.

    Args:
        path: a .pth or .safetensors file, a work dir for its newest checkpoint, or `URL#sha256=DIGITS`
            with an https or hf:// address (poseplug/files/fetch.py).

    Returns:
        The file's content, with the weights by name under 'state_dict'. Tensors are on the CPU; those of a .pth file
        are read-only pages of the file until they are copied.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is no checkpoint.
        UnsafeFileError: the file holds more than plain data; nothing of it was run.
    """
    path = fetch_weights(path)
    if path.is_dir():
        path = find_latest_checkpoint(path)
    if not path.is_file():
        siblings = [file.name for file in path.parent.glob('*.pth')] if path.parent.is_dir() else []
        hint = suggest_closest(path.name, siblings) or 'train one with tools/train.py'
        raise CheckpointError(f'{path}: no such checkpoint; {hint}')
    if path.suffix == '.safetensors':
        return {'state_dict': load_safetensors(path), 'meta': read_weight_metadata(path)}
    if not is_intact(path):
        raise CheckpointError(
            f'{path} is damaged: size or checksums differ from what was saved; use another checkpoint'
        )
    content = _load_plain_data(path)
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not a checkpoint')
    return content if 'state_dict' in content else extract_weights(content, path)


def fetch_weights(path: Path | str) -> Path:
    """Return the file or folder of weights; those at an address are downloaded and verified.

    Args:
        path: as for `load_checkpoint`.

    Raises:
        UnsafeFileError: the address lacks the SHA-256, is not accepted, or holds another file.
        CheckpointError: it cannot be downloaded.
    """
    return fetch_pinned_url(path) if isinstance(path, str) and '://' in path else Path(path)


def _load_plain_data(path: Path) -> Any:
    """The content of a .pth file, if it is plain data; its tensors are the file's pages, mapped into memory."""
    # A mapped file can be replaced or deleted meanwhile, except on Windows.
    is_mapped = sys.platform != 'win32' and zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.load(path, map_location='cpu', weights_only=True, mmap=is_mapped)
    except Exception as error:
        code = re.search(r'GLOBAL (\S+)', str(error))
        if code:
            raise UnsafeFileError(
                f'{path} holds more than plain data: it asks for {code[1]}, which could run code. It is refused; '
                f'write its weights alone with the program that wrote it: torch.save(model.state_dict(), FILE)'
            ) from error
        kind = describe_file_kind(path) or 'is damaged or no checkpoint; use another checkpoint'
        raise CheckpointError(f'{path} {kind}') from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Args:
        path: a .safetensors file.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        CheckpointError: the file is damaged or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        kind = describe_file_kind(path) or f'is damaged or no safetensors file ({error})'
        raise CheckpointError(f'{path} {kind}') from error


def read_weight_metadata(path: Path | str) -> dict[str, str]:
    """Read what a safetensors file says about its weights.

    Args:
        path: as for `load_checkpoint`.

    Returns:
        Its metadata; none for another file, or one that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = fetch_weights(path)
    if path.suffix != '.safetensors' or not path.is_file():
        return {}
    try:
        with safe_open(path, 'pt') as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):  # `load_weights` refuses the file, and says why
        return {}


def load_weights(
    module: nn.Module, path: Path | str, weight_kind: WeightKind | None = None, map_keypoints: bool = False
) -> dict[str, Any]:
    """Load all weights of a file into a module.

    Args:
        module: is changed in place; modules in it that have `adapt_weights` adapt their weights first. The keypoints of
            an estimator, which has a `skeleton`, are compared with those that the file names.
        path: as for `load_checkpoint`.
        weight_kind: as for `select_weights`.
        map_keypoints: whether the channels of an estimator's head are taken by the names of their keypoints, where the
            file has them in another order or has more of them.

    Returns:
        The file's content.

    Raises:
        CheckpointError: the file cannot be used, its weights are those of another model or of other keypoints, or some
            are not finite.
        UnsafeFileError: the file holds more than plain data.
    """
    content = load_checkpoint(path)
    # In this order: which weights, whose keypoints, which size, which names; each check needs the one before.
    weights = select_weights(content, weight_kind, path)
    content['state_dict'] = remove_wrapper_names(weights, list_part_names(module))
    skeleton, record = getattr(module, 'skeleton', None), get_skeleton_record(content)
    if isinstance(skeleton, Skeleton):
        if record is None:
            _check_foreign_names(content.get('meta'), path)
        if map_keypoints:
            content['state_dict'] = map_keypoints_by_name(module, content['state_dict'], record, path)
        else:
            check_keypoints(record, skeleton, path)
    adapt_state_dict(module, content['state_dict'])
    check_state_dict(module, content['state_dict'], path)
    if isinstance(skeleton, Skeleton) and record is None:
        warn_of_unnamed_keypoints(skeleton, path)
    if isinstance(meta := content.get('meta'), Mapping):
        warn_of_changed_model(meta.get('model'), module, path)
    # Before anything is loaded, so that an error leaves the module as it was.
    check_finite_weights(content['state_dict'], path)
    module.load_state_dict(content['state_dict'])
    return content


def get_skeleton_record(content: Mapping[str, Any]) -> SkeletonRecord | None:
    """Return what a checkpoint says about its keypoints, or None if it says nothing.

    Args:
        content: of the checkpoint, as `load_checkpoint` returns it.
    """
    meta = content.get('meta')
    return read_skeleton_record(meta.get('skeleton')) if isinstance(meta, Mapping) else None


def map_keypoints_by_name(
    module: Any, state_dict: dict[str, Any], record: SkeletonRecord | None, path: Path | str
) -> dict[str, Any]:
    """Select the channels of an estimator's head by the names of their keypoints.

    Args:
        module: the estimator.
        state_dict: weights of the same network for other keypoints.
        record: what their file says about these.
        path: the file, for messages.

    Returns:
        The weights for the estimator's keypoints.

    Raises:
        CheckpointError: the file names no keypoints or lacks some, or the head does not say which channel is whose.
    """
    if record is None:
        raise CheckpointError(
            f'{path} does not say which keypoints it predicts, so they cannot be taken by name; leave --map-keypoints '
            f'out if they are those of the config'
        )
    known = set(map(normalize_keypoint_name, record.keypoints))
    missing = [name for name in module.skeleton.keypoints if normalize_keypoint_name(name) not in known]
    if missing:
        raise CheckpointError(
            f'{path} lacks {len(missing)} keypoints of the skeleton {module.skeleton.name!r}: {", ".join(missing)}. '
            f'Train them: poseplug train CONFIG --init {path}'
        )
    mapped: dict[str, Any] = module.map_keypoint_weights(state_dict, record.keypoints).state_dict
    return mapped


def select_weights(
    content: Mapping[str, Any], weight_kind: WeightKind | None = None, path: Path | str = 'the file'
) -> dict[str, Any]:
    """Select the averaged or the raw weights of a checkpoint.

    Args:
        content: of the checkpoint; of a run that averages, 'state_dict' has the averaged weights and 'ema_state_dict'
            the raw ones, as mmengine writes them.
        weight_kind: 'averaged' or 'raw'; None for those under 'state_dict'.
        path: the file, for the message.

    Returns:
        The weights by name.

    Raises:
        CheckpointError: the checkpoint lacks these weights, or does not say which ones it has.
    """
    state_dict: dict[str, Any] = content['state_dict']
    raw_weights = content.get('ema_state_dict')
    if weight_kind is None or (weight_kind == 'averaged' and raw_weights is not None):
        return state_dict
    if weight_kind == 'averaged':
        raise CheckpointError(
            f'{path} has no averaged weights beside raw ones; leave --weights out to take what it has'
        )
    if raw_weights is not None:
        names = {name: f'{_AVERAGED_MODEL_PREFIX}{name}' for name in state_dict}
        return {name: raw_weights.get(raw_name, state_dict[name]) for name, raw_name in names.items()}
    if 'optimizer' not in content:
        raise CheckpointError(
            f'{path} has one set of weights and does not say whether they are raw or averaged; use a checkpoint of the '
            f'run, or leave --weights out'
        )
    return state_dict


def adapt_state_dict(module: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Let submodules convert weights that were trained at another size, such as position embeddings.

    Args:
        module: those of its submodules that have a method `adapt_weights(state_dict, prefix)` convert their weights.
        state_dict: weights by name, changed in place.
    """
    for name, submodule in module.named_modules():
        if hasattr(submodule, 'adapt_weights'):
            submodule.adapt_weights(state_dict, f'{weight_name(name)}.' if name else '')


def _check_foreign_names(meta: Any, path: Path | str) -> None:
    """Refuse a checkpoint that names its keypoints in MMPose's way, which `convert` reads and compares."""
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    names = dataset_meta.get('keypoint_id2name') if isinstance(dataset_meta, Mapping) else None
    if isinstance(names, Mapping) and names:
        first = ', '.join(str(name) for name in [*names.values()][:3])
        raise CheckpointError(
            f'{path} names its keypoints as MMPose does ({first}, ...); convert it, which compares them with those of '
            f'the config: poseplug convert {path} CONFIG --out FILE'
        )
