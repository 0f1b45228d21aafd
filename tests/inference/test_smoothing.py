"""The one-euro filter: standing joints stand still, moving ones are not late, whatever the frame rate."""

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.inference.smoothing import Smoother, Smoothing, share
from poseplug.poses import Poses

SIZE = 100.0  # px: the root of the box's area
BOX = np.array([[0, 0, SIZE, SIZE]])


def smoothed(tracks, times, scores=None, **settings):
    """One person's joints (T, K, 2) through the filter."""
    smoother = Smoother(Smoothing(**settings))
    scores = np.ones(tracks.shape[:2]) if scores is None else scores
    people = (
        Poses(p[None], s[None], np.ones(1), boxes=BOX, ids=np.array([1])) for p, s in zip(tracks, scores, strict=True)
    )
    return np.array([smoother(p, t).keypoints[0] for p, t in zip(people, times, strict=True)])


def noise(count, spread=0.01 * SIZE):
    return np.random.default_rng(0).normal(0, spread, (count, 14, 2))


def test_what_stands_still_is_unchanged():
    points = np.full((50, 3, 2), 123.25)
    assert (smoothed(points, np.arange(50) / 25) == 123.25).all()


def test_two_frames_give_what_the_formula_gives():
    """tau = 1 / (2 pi); the speed 5 px in 0.1 s, 0.5 sizes a second, is seen as its share of 0.1 / (0.1 + tau)."""
    tau = 1 / (2 * np.pi)
    speed = 0.5 * 0.1 / (0.1 + tau)
    expected = 5 / (1 + 1 / (2 * np.pi * (1 + 5 * speed) * 0.1))
    found = smoothed(np.array([[[0.0, 0]], [[3.0, 4]]]), [0.0, 0.1])
    assert np.linalg.norm(found[1, 0]) == pytest.approx(expected, rel=1e-6)
    assert found[1, 0, 1] / found[1, 0, 0] == pytest.approx(4 / 3)


def test_a_low_pass_of_one_hertz_takes_this_share():
    assert share(1.0, np.array(1 / (2 * np.pi))) == pytest.approx(0.5)


@pytest.mark.parametrize(('fps', 'factor'), [(15, 3), (30, 5), (60, 8)])
def test_the_jitter_of_a_standing_joint_falls_by_a_factor(fps, factor):
    """Noise of 1 % of the person's size; jitter is the change from frame to frame."""
    raw = noise(10 * fps)
    found = smoothed(raw, np.arange(10 * fps) / fps)
    assert np.diff(raw[fps:], axis=0).std() > factor * np.diff(found[fps:], axis=0).std()


@pytest.mark.parametrize('fps', [15, 30, 60])
@pytest.mark.parametrize('speed', [1.0, 3.0])
def test_a_moving_joint_is_less_than_30_ms_late(fps, speed):
    times = np.arange(4 * fps) / fps
    raw = speed * SIZE * times[:, None, None] * np.array([1.0, 0])
    late = (raw - smoothed(raw, times))[2 * fps :, 0, 0] / (speed * SIZE)
    assert 0 < late.max() < 0.03


def test_frame_rates_agree_on_a_swinging_hand():
    """Half a size to either side, once a second: the results at common times lie within 1 % of the size."""
    swing = {
        fps: smoothed(0.5 * SIZE * np.sin(2 * np.pi * np.arange(4 * fps) / fps)[:, None, None] * [[[1, 0]]],
                      np.arange(4 * fps) / fps)
        for fps in (30, 60, 120)
    }  # fmt: skip
    assert np.abs(swing[30] - swing[120][::4]).max() < 0.02 * SIZE
    assert np.abs(swing[60] - swing[120][::2]).max() < 0.01 * SIZE


def test_behind_a_gap_the_new_place_counts_nearly_alone():
    found = smoothed(np.array([[[0.0, 0]], [[0.0, 0]], [[90.0, 0]]]), [0.0, 0.04, 5.0])
    assert found[2, 0, 0] == pytest.approx(90, rel=0.04)


def test_joints_that_score_low_stay_as_they_are_and_teach_nothing():
    points, scores = np.zeros((4, 2, 2)), np.ones((4, 2))
    points[2], scores[2, 0] = 50, 0.01
    found = smoothed(points, np.arange(4) / 25, scores)
    assert (found[2, 0] == 50).all()
    assert (found[3, 0] == 0).all()
    assert 0 < found[2, 1, 0] < 50
    assert found[3, 1, 0] > 0


def test_everybody_has_a_filter_of_their_own_whatever_their_order():
    one, other = np.zeros((1, 2, 2)), np.full((1, 2, 2), 400.0)
    smoother = Smoother()
    for step, ids in enumerate(([1, 2], [2, 1], [1, 2])):
        points = np.concatenate([one if n == 1 else other for n in ids])
        people = Poses(points, np.ones((2, 2)), np.ones(2), boxes=np.tile(BOX, (2, 1)), ids=np.array(ids))
        assert (smoother(people, step / 25).keypoints == points).all()
    assert (smoother(Poses(one, np.ones((1, 2)), np.ones(1), ids=np.array([3])), 60.0).keypoints == one).all()
    assert list(smoother.filters) == [3]


def test_nobody_is_smoothed_to_nobody():
    nobody = Poses(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0), ids=np.zeros(0, int))
    assert len(Smoother()(nobody, 0.0)) == 0


def test_settings_that_are_none_and_people_without_ids_are_refused():
    with pytest.raises(ConfigError, match='cutoffs are positive'):
        Smoothing(min_cutoff=0)
    with pytest.raises(ConfigError, match='by a Tracker first'):
        Smoother()(Poses(np.zeros((1, 3, 2)), np.ones((1, 3)), np.ones(1)), 0.0)
