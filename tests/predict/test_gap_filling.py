"""Poses of a whole video: gaps filled on straight lines, and smoothing without a delay."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.gap_filling import fill_gaps, smooth_both_ways
from poseplug.predict.smoothing import OneEuroSmoother

TIMES = [0.0, 0.04, 0.12, 0.16, 0.2, 1.4, 1.44]


def create_poses(*instances):
    """Poses of (id, x, score) each, with a keypoint at (x, 2 x) and one at (x + 10, 0)."""
    ids = np.array([i for i, _, _ in instances], dtype=int)
    x = np.array([x for _, x, _ in instances], dtype=np.float32)
    points = np.stack([np.stack([x, 2 * x], -1), np.stack([x + 10, 0 * x], -1)], axis=1)
    scores = np.array([score for _, _, score in instances], dtype=np.float32)
    boxes = np.stack([x, 0 * x, x + 10, 2 * x + 1], axis=-1)
    return Poses(points, np.repeat(scores[:, None], 2, 1), scores, boxes=boxes, ids=ids)


def test_a_short_gap_is_filled_on_the_line_by_time_and_a_long_one_stays():
    frames = [
        create_poses((1, 0, 0.9), (2, 500, 1)), create_poses((2, 500, 1)), create_poses(), create_poses((1, 16, 0.6)),
        create_poses((2, 500, 1)), create_poses((1, 99, 1)), create_poses(),
    ]  # fmt: skip
    filled = fill_gaps(list(zip(TIMES, frames, strict=True)), max_gap=0.2)
    assert [sorted(poses.ids.tolist()) for poses in filled] == [[1, 2], [1, 2], [1, 2], [1, 2], [2], [1], []]
    assert filled[1][filled[1].ids == 1].keypoints[0] == pytest.approx(np.array([[4, 8], [14, 0]]))
    assert filled[2][filled[2].ids == 1].keypoints[0] == pytest.approx(np.array([[12, 24], [22, 0]]))
    assert filled[2][filled[2].ids == 1].boxes[0] == pytest.approx([12, 0, 22, 25])
    assert filled[2][filled[2].ids == 1].instance_scores == pytest.approx([0.6])
    assert filled[0].keypoints[0, 0].tolist() == [0, 0]
    assert len(frames[1]) == 1


def test_smoothing_both_ways_has_no_delay():
    times = np.arange(60) / 30
    frames = [(t, create_poses((1, 300 * t, 1))) for t in times]
    x = np.array([poses.keypoints[0, 0, 0] for poses in smooth_both_ways(frames)])
    one_way = OneEuroSmoother()
    delayed = np.array([one_way(poses, t).keypoints[0, 0, 0] for t, poses in frames])
    middle = slice(20, 40)
    assert np.abs(x - 300 * times)[middle].max() < 0.2 * np.abs(delayed - 300 * times)[middle].max()


def test_smoothing_both_ways_calms_a_resting_keypoint_more_than_one_way():
    rng = np.random.default_rng(0)
    frames = [(n / 30, create_poses((1, 200 + rng.normal(), 1))) for n in range(200)]
    smoother = OneEuroSmoother()
    one_way = np.array([smoother(poses, t).keypoints[0, 0, 0] for t, poses in frames])
    both = np.array([poses.keypoints[0, 0, 0] for poses in smooth_both_ways(frames)])
    assert np.abs(np.diff(both))[20:-20].mean() < np.abs(np.diff(one_way))[20:-20].mean()


def test_poses_without_ids_are_refused():
    poses = Poses(np.zeros((1, 2, 2)), np.ones((1, 2)), np.ones(1))
    with pytest.raises(ConfigError, match='only instances with ids have gaps'):
        fill_gaps([(0.0, poses)])
