"""Predicted instances as plain lists and dicts for JSON, and the header of every result file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poseplug.core.poses import Poses


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


def instances_to_dicts(poses: Poses) -> list[dict[str, Any]]:
    """Convert the instances of an image to plain dicts.

    Args:
        poses: NumPy poses of one image, in px.

    Returns:
        A dict for each instance: `id` where known, `score`, `keypoints` as [x, y, score] each, and `box_xyxy` where
        known. Pixels are rounded to 2 digits, scores to 4.
    """
    instances = []
    for n in range(len(poses)):
        keypoints = np.column_stack([poses.keypoints[n], poses.keypoint_scores[n]]).tolist()
        instance: dict[str, Any] = {} if poses.ids is None else {'id': int(poses.ids[n])}
        instance['score'] = round(float(poses.instance_scores[n]), 4)
        instance['keypoints'] = [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in keypoints]
        if poses.boxes is not None:
            instance['box_xyxy'] = [round(float(value), 2) for value in poses.boxes[n]]
        instances.append(instance)
    return instances


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
