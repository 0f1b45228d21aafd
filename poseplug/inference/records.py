"""People as plain lists, and what every file of them says first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poseplug.poses import Poses


def heading(predictor: Any) -> dict[str, Any]:
    """What people of a predictor mean: its model, their skeleton and joints, whose left it is, and the score."""
    skeleton = predictor.skeleton
    return {
        'model': predictor.name,
        'skeleton': skeleton.name,
        'centric': skeleton.centric,
        'joints': list(skeleton.joints),
        'score': predictor.model.codec.score,
    }


def people_of(poses: Poses) -> list[dict[str, Any]]:
    """The people of a picture as plain lists: joints are x, y and score, boxes x, y of two corners; ids where known."""
    found = []
    for n in range(len(poses)):
        joints = np.column_stack([poses.keypoints[n], poses.scores[n]]).tolist()
        person: dict[str, Any] = {} if poses.ids is None else {'id': int(poses.ids[n])}
        person['score'] = round(float(poses.person_scores[n]), 4)
        person['keypoints'] = [[round(x, 2), round(y, 2), round(s, 4)] for x, y, s in joints]
        if poses.boxes is not None:
            person['corners'] = [round(float(v), 2) for v in poses.boxes[n]]
        found.append(person)
    return found


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that come again with a number that no other has."""
    taken: set[str] = set()
    found = []
    for name in names:
        own, count = name, 1
        while own in taken:
            count += 1
            own = f'{name}_{count}'
        taken.add(own)
        found.append(own)
    return found
