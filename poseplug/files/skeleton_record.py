"""The keypoints that weights were trained for, as files of weights carry them, and their comparison with a skeleton."""

from __future__ import annotations

__all__ = [
    'SkeletonRecord',
    'check_keypoints',
    'describe_skeleton',
    'read_skeleton_record',
    'warn_of_unnamed_keypoints',
]

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.core.errors import CheckpointError
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import normalize_keypoint_name

_LOGGER = logging.getLogger('poseplug')
_MAX_LISTED_DIFFERENCES = 4
_MAX_SIGMA_RATIO = 1.01  # files round them


@dataclass(frozen=True)
class SkeletonRecord:
    """The skeleton that a file of weights states: the keypoints that the weights predict.

    Attributes:
        name: of the skeleton.
        keypoints: the names, in the order of the channels.
        flip_pairs: pairs of names; None if the file does not say.
        sigmas: the OKS constants; None if the file does not say.
        centric: whose left is meant, 'person' or 'observer'; None if the file does not say.
    """

    name: str
    keypoints: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    sigmas: tuple[float, ...] | None = None
    centric: str | None = None


def describe_skeleton(skeleton: Skeleton) -> dict[str, Any]:
    """Describe a skeleton as plain data for a file of weights; `read_skeleton_record` reads it."""
    return {
        'name': skeleton.name,
        'keypoints': list(skeleton.keypoints),
        'flip_pairs': [list(pair) for pair in skeleton.flip_pairs],
        'sigmas': None if skeleton.sigmas is None else list(skeleton.sigmas),
        'centric': skeleton.centric,
    }


def read_skeleton_record(content: Any) -> SkeletonRecord | None:
    """Read what `describe_skeleton` wrote.

    Args:
        content: the description, or its JSON text.

    Returns:
        The record, or None if the content is none.
    """
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return None
    if not isinstance(content, Mapping) or not content.get('keypoints'):
        return None
    pairs, sigmas = content.get('flip_pairs'), content.get('sigmas')
    flip_pairs = None if pairs is None else tuple((str(a), str(b)) for a, b in pairs)
    numbers = None if sigmas is None else tuple(map(float, sigmas))
    keypoints = tuple(map(str, content['keypoints']))
    return SkeletonRecord(str(content.get('name', '')), keypoints, flip_pairs, numbers, content.get('centric'))


def check_keypoints(record: SkeletonRecord | None, skeleton: Skeleton, path: Path | str) -> None:
    """Check that weights predict the keypoints of a skeleton, in its order.

    Args:
        record: what their file says; nothing is checked if it is None (`warn_of_unnamed_keypoints`).
        skeleton: of the config.
        path: the file, for messages.

    Raises:
        CheckpointError: the keypoints, their order, whose left is meant or the flip pairs differ.
    """
    if record is None:
        return
    differences = find_keypoint_differences(record.keypoints, skeleton.keypoints)
    if differences:
        further = len(differences) - _MAX_LISTED_DIFFERENCES
        ending = f', and {further} more' if further > 0 else ''
        raise CheckpointError(
            f"{path} predicts the keypoints of {record.name!r}, which are not those of the config's skeleton "
            f'{skeleton.name!r}: {"; ".join(differences[:_MAX_LISTED_DIFFERENCES])}{ending}. Use the config that it '
            f'was trained with, or add --map-keypoints to take its channels by name'
        )
    _check_left_and_right(record, skeleton, path)
    _warn_of_other_sigmas(record, skeleton, path)


def warn_of_unnamed_keypoints(skeleton: Skeleton, path: Path | str) -> None:
    """Log a warning that a file of weights does not say which keypoints it predicts.

    Args:
        skeleton: of the config, whose keypoints they are taken to be.
        path: the file.
    """
    first_names = ', '.join(skeleton.keypoints[:3])
    message = '%s does not say which keypoints it predicts; they are taken to be those of %r: %s, ...'
    _LOGGER.warning(message, path, skeleton.name, first_names)


def find_keypoint_differences(file_names: Sequence[str], config_names: Sequence[str]) -> list[str]:
    """Find the indices at which two lists of keypoints differ; case, blanks and hyphens do not count.

    Args:
        file_names: the keypoints of a file of weights.
        config_names: those of a config's skeleton.

    Returns:
        A text for each index with a difference, with both names.
    """
    differences = []
    if len(file_names) != len(config_names):
        differences.append(f'{len(file_names)} keypoints in the file, {len(config_names)} in the config')
    for index in range(max(len(file_names), len(config_names))):
        names = [listed[index] if index < len(listed) else 'none' for listed in (file_names, config_names)]
        if normalize_keypoint_name(names[0]) != normalize_keypoint_name(names[1]):
            differences.append(f'keypoint {index} is {names[0]} in the file, {names[1]} in the config')
    return differences


def _check_left_and_right(record: SkeletonRecord, skeleton: Skeleton, path: Path | str) -> None:
    """Raise if weights mean another left, or were trained with other flip pairs."""
    if record.centric is not None and record.centric != skeleton.centric:
        raise CheckpointError(
            f'{path} was trained on {record.centric}-centric labels, and the skeleton {skeleton.name!r} of the config '
            f'is {skeleton.centric}-centric: left and right mean different things. Use the config that it was trained '
            f'with'
        )
    file_pairs, config_pairs = (_index_pairs(pairs) for pairs in (record.flip_pairs or (), skeleton.flip_pairs))
    if record.flip_pairs is not None and file_pairs.keys() != config_pairs.keys():
        only_file = _format_pairs(pair for key, pair in file_pairs.items() if key not in config_pairs)
        only_config = _format_pairs(pair for key, pair in config_pairs.items() if key not in file_pairs)
        raise CheckpointError(
            f'{path} was trained with other flip pairs than those of the skeleton {skeleton.name!r}: only in the file '
            f'{only_file}, only in the config {only_config}. Correct flip_pairs in the config'
        )


def _warn_of_other_sigmas(record: SkeletonRecord, skeleton: Skeleton, path: Path | str) -> None:
    """Log a warning if the OKS constants differ: the weights fit, but scores do not compare."""
    # Not strict: either side may state no sigmas, and then there is nothing to compare.
    for name, a, b in zip(skeleton.keypoints, record.sigmas or (), skeleton.sigmas or (), strict=False):
        if max(a, b) > _MAX_SIGMA_RATIO * min(a, b):
            message = '%s was trained with other sigmas than the skeleton %r has (%s: %g, here %g): OKS differs'
            _LOGGER.warning(message, path, skeleton.name, name, a, b)
            return


def _index_pairs(pairs: Sequence[tuple[str, str]]) -> dict[frozenset[str], tuple[str, str]]:
    """Pairs of names by what they are compared by: both names, in any order and spelling."""
    return {frozenset(map(normalize_keypoint_name, pair)): pair for pair in pairs}


def _format_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Pairs of names as text."""
    return ', '.join(sorted(' and '.join(sorted(pair)) for pair in pairs)) or 'none'
