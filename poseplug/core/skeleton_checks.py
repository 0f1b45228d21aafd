"""Checks of what users write in a skeleton, and the left-right pairs that the names of its keypoints imply."""

from __future__ import annotations

__all__ = [
    'KeypointPair',
    'check_skeleton_fields',
    'find_one_sided_keypoints',
    'find_unpaired_sides',
    'freeze_skeleton_fields',
    'infer_flip_pairs',
    'normalize_keypoint_name',
]

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError, compose_message, suggest_closest

KeypointPair = tuple[str, str]

_CENTRICS = ('person', 'observer')
# Single letters count only as whole words, since most names contain an l or an r.
_SIDES = {'left': 'right', 'l': 'r'}
_PAIR_LISTS = ('limbs', 'flip_pairs', 'grouping_order', 'redundant_limbs')


def normalize_keypoint_name(name: str) -> str:
    """Return a keypoint's name without case, blanks, hyphens and underscores, by which names are compared.

    Example:
        >>> normalize_keypoint_name('Right Shoulder') == normalize_keypoint_name('right_shoulder')
        True
    """
    return re.sub(r'[\s_-]+', '', name).lower()


def infer_flip_pairs(keypoints: Sequence[str]) -> tuple[KeypointPair, ...]:
    """Infer the left-right pairs of keypoints from their names.

    Args:
        keypoints: the names, with `left` and `right`, or `l` and `r`, as a word or at one's begin or end: 'left_eye',
            'Eye-R', 'leftEye', 'LHip'.

    Returns:
        Pairs of names, left first.

    Example:
        >>> infer_flip_pairs(['nose', 'left_eye', 'right_eye', 'rightEar'])
        (('left_eye', 'right_eye'),)
    """
    names_by_words = {_split_words(name): name for name in keypoints}
    partners: dict[str, str] = {}
    # Whole words first: they are certain where a part of a word may be another one, as in 'lip'.
    for flip_words in (_flip_whole_words, _flip_word_parts):
        for words, name in names_by_words.items():
            for flipped in flip_words(words):
                other = names_by_words.get(flipped)
                if other is not None and not {name, other} & {*partners, *partners.values()}:
                    partners[name] = other
    return tuple((name, partners[name]) for name in keypoints if name in partners)


def _flip_whole_words(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of a name of the left side with those of the right one."""
    flipped = tuple(_SIDES.get(word, word) for word in words)
    if flipped != words:
        yield flipped


def _flip_word_parts(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words with the side at one word's begin or end exchanged: 'lhip', 'lefteye', 'eyel', 'lfpaw'."""
    for i, word in enumerate(words):
        for left, right in _SIDES.items():
            if word.startswith(left):
                yield (*words[:i], right + word[len(left) :], *words[i + 1 :])
            if word.endswith(left):
                yield (*words[:i], word[: -len(left)] + right, *words[i + 1 :])


def find_unpaired_sides(keypoints: Sequence[str], flip_pairs: Sequence[KeypointPair]) -> tuple[KeypointPair, ...]:
    """Find the left-right pairs that the names of keypoints imply and that the flip pairs lack.

    Args:
        keypoints: the names.
        flip_pairs: the pairs that flipping an image exchanges.

    Returns:
        Pairs of names, left first.

    Example:
        >>> find_unpaired_sides(['left_eye', 'right_eye', 'left_ear', 'right_ear'], [('left_eye', 'right_eye')])
        (('left_ear', 'right_ear'),)
    """
    paired = {frozenset(pair) for pair in flip_pairs}
    return tuple(pair for pair in infer_flip_pairs(keypoints) if frozenset(pair) not in paired)


def find_one_sided_keypoints(keypoints: Sequence[str], flip_pairs: Sequence[KeypointPair]) -> list[str]:
    """Find keypoints of the left or right side without a counterpart: what they are in a flipped image has no name.

    Args:
        keypoints: the names.
        flip_pairs: the pairs that flipping an image exchanges.

    Example:
        >>> find_one_sided_keypoints(['nose', 'left_eye'], [])
        ['left_eye']
    """
    paired = {name for pair in (*flip_pairs, *infer_flip_pairs(keypoints)) for name in pair}
    return [name for name in keypoints if name not in paired and {'left', 'right'} & {*_split_words(name)}]


def freeze_skeleton_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the lists and arrays in the checked fields of a skeleton to tuples, so that equal skeletons compare so.

    Args:
        fields: of `Skeleton`, by name.

    Returns:
        The fields of names, pairs of names and numbers.
    """
    frozen: dict[str, Any] = {'keypoints': tuple(fields['keypoints'])}
    for setting in _PAIR_LISTS:
        frozen[setting] = tuple(tuple(pair) for pair in fields[setting])
    for setting in ('torso', 'head'):
        frozen[setting] = None if fields[setting] is None else tuple(fields[setting])
    sigmas = fields['sigmas']
    frozen['sigmas'] = None if sigmas is None else tuple(map(float, sigmas))
    return frozen


def _split_words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: 'leftEye', 'Left eye' and 'left_eye' are the same two."""
    spaced = re.sub(r'(?<=[a-z0-9])(?=[A-Z])', ' ', name)
    return tuple(filter(None, re.split(r'[\W_]+', spaced.lower())))


def check_skeleton_fields(fields: Mapping[str, Any]) -> None:
    """Check the fields of a skeleton before anything is derived from them.

    Args:
        fields: of `Skeleton`, by name.

    Raises:
        ConfigError: one of them is not what it should be; the message has the field, what was found and the remedy.
    """
    owner = f'skeleton {fields["name"]!r}'
    if not isinstance(fields['name'], str) or not fields['name'].strip():
        raise ConfigError(f"a skeleton's name is a text; got {fields['name']!r}")
    keypoints = fields['keypoints']
    _check_keypoint_names(owner, keypoints)
    for setting in _PAIR_LISTS:
        pairs = fields[setting]
        if not _is_sequence(pairs):
            raise ConfigError(f'{owner}: {setting} is a list of pairs of keypoint names; got {pairs!r}')
        for pair in pairs:
            _check_pair(owner, setting, pair, keypoints)
    _check_limbs(owner, fields['limbs'])
    for setting in ('torso', 'head'):
        if fields[setting] is not None:
            _check_pair(owner, setting, fields[setting], keypoints)
    for setting in ('groups', 'derived_keypoints'):
        _check_name_lists(owner, setting, fields[setting], keypoints)
    if fields['centric'] not in _CENTRICS:
        raise ConfigError(f"{owner}: centric is 'person' or 'observer'; got {fields['centric']!r}")
    _check_flip_pairs(owner, fields['flip_pairs'])
    _check_sigmas(owner, fields['sigmas'], len(keypoints))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _check_keypoint_names(owner: str, keypoints: Any) -> None:
    """Raise unless keypoints are distinct names, also without case, blanks and hyphens."""
    is_named = _is_sequence(keypoints) and all(isinstance(k, str) and k.strip() for k in keypoints)
    if not is_named or not keypoints:
        raise ConfigError(
            f"{owner} needs keypoints with distinct names, a list as in ['nose', 'left_eye']; got {keypoints!r}"
        )
    first: dict[str, str] = {}
    for name in keypoints:
        other = first.setdefault(normalize_keypoint_name(name), name)
        if len([k for k in keypoints if k == name]) > 1 or other != name:
            raise ConfigError(
                f'{owner} needs keypoints with distinct names; {other!r} and {name!r} are the same without case, '
                f'blanks, hyphens and underscores'
            )


def _check_pair(owner: str, setting: str, pair: Any, keypoints: Sequence[str]) -> None:
    """Raise unless a pair is two different names of keypoints."""
    names = list(pair) if _is_sequence(pair) else []
    if len(names) != 2:
        rule = 'has pairs of two keypoint names' if setting in _PAIR_LISTS else 'is a pair of two keypoint names'
        raise ConfigError(f'{owner}: {setting} {rule}; got {pair!r}')
    for name in names:
        _check_name(owner, setting, name, keypoints)
    if names[0] == names[1]:
        raise ConfigError(f'{owner}: {setting} has a pair of {names[0]!r} with itself; name two keypoints')


def _check_limbs(owner: str, limbs: Sequence[KeypointPair]) -> None:
    """Raise if two limbs connect the same keypoints, of which each would get a field."""
    pairs = [frozenset(limb) for limb in limbs]
    for limb, pair in zip(limbs, pairs, strict=True):
        if pairs.count(pair) > 1:
            raise ConfigError(f'{owner}: limbs connect {limb[0]!r} and {limb[1]!r} more than once; leave one out')


def _check_name(owner: str, setting: str, name: Any, keypoints: Sequence[str]) -> None:
    """Raise unless a name is that of a keypoint."""
    if isinstance(name, str):
        if name not in keypoints:
            hint = suggest_closest(name, keypoints) or 'it has'
            raise ConfigError(f'{owner} has no keypoint {name!r}; {hint} {tuple(keypoints)}. See {setting}')
        return
    remedy = ''
    if isinstance(name, int) and not isinstance(name, bool) and 0 <= name < len(keypoints):
        remedy = f'write {keypoints[name]!r} if the first keypoint has the index 0'
    raise ConfigError(compose_message(f'{owner}: {setting} has names of keypoints, not indices; got {name!r}', remedy))


def _check_name_lists(owner: str, setting: str, lists: Any, keypoints: Sequence[str]) -> None:
    """Raise unless a value is lists of keypoint names by name."""
    if not isinstance(lists, Mapping) or not all(_is_sequence(names) and names for names in lists.values()):
        raise ConfigError(f'{owner}: {setting} is a dict with lists of keypoint names; got {lists!r}')
    if setting == 'groups':
        for name in (name for names in lists.values() for name in names):
            _check_name(owner, setting, name, keypoints)
    else:
        for name in lists:
            _check_name(owner, setting, name, keypoints)


def _check_flip_pairs(owner: str, flip_pairs: Sequence[KeypointPair]) -> None:
    """Raise unless a flip that is done twice leaves every keypoint where it was."""
    partners: dict[str, str] = {}
    for first, second in flip_pairs:
        for name, partner in ((first, second), (second, first)):
            if name in partners:
                raise ConfigError(
                    f'{owner}: flip_pairs contain a keypoint more than once: {name!r} with {partners[name]!r} and with '
                    f'{partner!r}. Leave one of the pairs out'
                )
            partners[name] = partner


def _check_sigmas(owner: str, sigmas: Any, num_keypoints: int) -> None:
    """Raise unless sigmas are one positive number per keypoint."""
    if sigmas is None:
        return
    if not _is_sequence(sigmas) and not isinstance(sigmas, np.ndarray):
        raise ConfigError(f'{owner}: sigmas is a list of one positive number per keypoint; got {sigmas!r}')
    if len(sigmas) != num_keypoints:
        raise ConfigError(
            f'{owner} has {num_keypoints} keypoints but {len(sigmas)} sigmas; give one sigma per keypoint'
        )
    for k, sigma in enumerate(sigmas):
        is_number = isinstance(sigma, Real) and not isinstance(sigma, bool)
        # OKS divides by the squared sigma: NaN and 0 would make every score NaN.
        if not is_number or not 0 < float(sigma) < math.inf:
            raise ConfigError(f'{owner}: sigmas are positive numbers; got {sigma!r} for keypoint {k}')
        if float(sigma) > 1:
            raise ConfigError(
                f'{owner}: sigmas are fractions of the size of an instance, below 1; got {sigma!r} for keypoint {k}'
            )
