"""The header of every result file, and names of results that do not collide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def build_result_header(predictor: Any) -> dict[str, Any]:
    """Describe what a predictor's results mean.

    Args:
        predictor: a `Predictor`.

    Returns:
        A dict with the names of the model and the skeleton, `centric` (whose left is meant: the 'person' or the
        'observer'), `keypoint_names` in the order of the keypoints, and `score_meaning`.
    """
    skeleton = predictor.skeleton
    return {
        'model': predictor.name,
        'skeleton': skeleton.name,
        'centric': skeleton.centric,
        'keypoint_names': list(skeleton.keypoints),
        'score_meaning': predictor.model.codec.score_meaning,
    }


def make_names_unique(names: Sequence[str]) -> list[str]:
    """Make names unique by appending `_2`, `_3`, ... to repeated ones.

    Example:
        >>> make_names_unique(['a', 'b', 'a'])
        ['a', 'b', 'a_2']
    """
    used: set[str] = set()
    unique_names = []
    for name in names:
        unique_name, count = name, 1
        while unique_name in used:
            count += 1
            unique_name = f'{name}_{count}'
        used.add(unique_name)
        unique_names.append(unique_name)
    return unique_names
