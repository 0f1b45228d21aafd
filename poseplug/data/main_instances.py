"""Selects the instances that a training input of a whole image may be centered on (Cao et al. 2017)."""

from __future__ import annotations

import numpy as np

from poseplug.core.sample import Record

# The rule and its numbers are those of the paper's released data preparation.
_MIN_KEYPOINTS = 5
_MIN_AREA_PX2 = 32.0**2
_MIN_DISTANCE_FRACTION = 0.3  # of the longer side of an instance that was selected before


def select_center_instances(record: Record) -> list[int]:
    """Select instances that are large, well labeled and apart from each other.

    An instance is selected if it has at least 5 labeled keypoints and an area of 32² px², and if its center is farther
    from that of every instance selected before than 0.3 of the longer side of that instance's box. So a group of
    people is not shown once for each of them.

    Args:
        record: N instances in image px.

    Returns:
        Indices of the selected instances, ascending.
    """
    boxes, areas = np.asarray(record.instances.boxes, float), record.instances.areas
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    longer_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    num_labeled = (record.instances.visible > 0).sum(axis=1)
    candidates = np.flatnonzero((num_labeled >= _MIN_KEYPOINTS) & (areas >= _MIN_AREA_PX2))
    selected: list[int] = []
    for n in candidates.tolist():
        distances = np.linalg.norm(centers[selected] - centers[n], axis=1)
        if (distances > _MIN_DISTANCE_FRACTION * longer_sides[selected]).all():
            selected.append(n)
    return selected
