"""Poses of a whole video once they are all known: gaps filled, and keypoints smoothed without a delay."""

from __future__ import annotations

__all__ = ['fill_gaps', 'smooth_both_ways']

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.smoothing import Smoother
from poseplug.registry import SMOOTHERS

TimedPoses = tuple[float, Poses]


def fill_gaps(frames: Sequence[TimedPoses], max_gap: float = 0.5) -> list[Poses]:
    """Add instances to the frames in which their id is not seen, on straight lines between those in which it is.

    Args:
        frames: seconds and poses with ids of every frame, in order.
        max_gap: seconds between two frames with an id; a longer gap stays.

    Returns:
        The poses of every frame. An added instance has the lower scores of both ends.

    Raises:
        ConfigError: poses have no ids.
    """
    filled = [poses.numpy() for _, poses in frames]
    seconds = np.array([time for time, _ in frames])
    for positions in _find_ids(filled).values():
        for (start, row), (end, end_row) in pairwise(positions):
            if end - start < 2 or seconds[end] - seconds[start] > max_gap:
                continue
            ends = frames[start][1].numpy()[[row]], frames[end][1].numpy()[[end_row]]
            for index in range(start + 1, end):
                fraction = (seconds[index] - seconds[start]) / (seconds[end] - seconds[start])
                filled[index] = _append_poses(filled[index], _interpolate_poses(*ends, fraction))
    return filled


def smooth_both_ways(frames: Sequence[TimedPoses], config: Mapping[str, Any] | None = None) -> list[Poses]:
    """Smooth keypoints by the mean of a smoother that runs forwards and of one that runs backwards: without a delay.

    Args:
        frames: seconds and poses with ids of every frame, in order.
        config: of the smoother, `dict(type=..., **settings)`; None for `OneEuroSmoother` with its defaults.

    Returns:
        The poses of every frame.
    """
    config = config or {'type': 'OneEuroSmoother'}
    forwards = _smooth_frames(SMOOTHERS.build(config), frames)
    # times that rise, as a smoother expects them
    reverse = [(-time, poses) for time, poses in reversed(frames)]
    backwards = _smooth_frames(SMOOTHERS.build(config), reverse)[::-1]
    return [
        replace(poses, keypoints=(poses.keypoints + other.keypoints) / 2)
        for poses, other in zip(forwards, backwards, strict=True)
    ]


def _smooth_frames(smoother: Smoother, frames: Sequence[TimedPoses]) -> list[Poses]:
    return [smoother(poses, seconds) for seconds, poses in frames]


def _find_ids(frames: Sequence[Poses]) -> dict[int, list[tuple[int, int]]]:
    """For each id, the frames in which it is seen, and its row there."""
    positions: dict[int, list[tuple[int, int]]] = {}
    for index, poses in enumerate(frames):
        if poses.ids is None:
            raise ConfigError('only instances with ids have gaps; assign them by a tracker first')
        for row, instance_id in enumerate(np.asarray(poses.ids).tolist()):
            positions.setdefault(instance_id, []).append((index, row))
    return positions


def _interpolate_poses(start: Poses, end: Poses, fraction: float) -> Poses:
    """The one instance of both poses at a fraction of the time between them."""
    boxes = None
    if start.boxes is not None and end.boxes is not None:
        boxes = start.boxes + fraction * (end.boxes - start.boxes)
    return replace(
        start,
        keypoints=start.keypoints + fraction * (end.keypoints - start.keypoints),
        keypoint_scores=np.minimum(start.keypoint_scores, end.keypoint_scores),
        instance_scores=np.minimum(start.instance_scores, end.instance_scores),
        boxes=boxes,
    )


def _append_poses(poses: Poses, added: Poses) -> Poses:
    """The instances of both; what only one of them knows is left out."""
    if not len(poses):
        return added
    arrays: dict[str, Any] = {}
    for field in fields(Poses):
        values = getattr(poses, field.name), getattr(added, field.name)
        arrays[field.name] = None if values[0] is None or values[1] is None else np.concatenate(values)
    return Poses(**arrays)
