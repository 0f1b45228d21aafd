"""Whole pictures with everybody in them: who may stand in the middle of one (Cao et al. 2017's data preparation)."""

from __future__ import annotations

import numpy as np

from poseplug.grouping.nms import box_areas
from poseplug.sample import AREA_OF_BOX, Record

LEAST_JOINTS = 5
LEAST_AREA = 32.0**2  # px²
APART = 0.3  # of the longer side of the box of somebody who was chosen before


def central(record: Record) -> list[int]:
    """The people who may be the middle of a training input, so that a group is not shown once a head.

    They have `LEAST_JOINTS` labelled joints and `LEAST_AREA`, and are further from everybody chosen before than `APART`
    of that person's size.
    """
    boxes = np.asarray(record.whereabouts(), float)
    areas = AREA_OF_BOX * box_areas(boxes) if record.areas is None else record.areas
    centers, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    chosen: list[int] = []
    for n in np.flatnonzero(((record.visible > 0).sum(axis=1) >= LEAST_JOINTS) & (areas >= LEAST_AREA)).tolist():
        if (np.linalg.norm(centers[chosen] - centers[n], axis=1) > APART * sizes[chosen]).all():
            chosen.append(n)
    return chosen
