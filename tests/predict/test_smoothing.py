"""The one-euro filter: keypoints at rest do not jitter, moving ones do not lag, at any frame rate."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.smoothing import OneEuroSmoother, smoothing_factor

SIZE = 100.0  # px: the square root of the box's area
BOX = np.array([[0, 0, SIZE, SIZE]])


def smooth_frames(frames, times, scores=None, **settings):
    """The keypoints (T, K, 2) of one instance through the filter."""
    smoother = OneEuroSmoother(**settings)
    scores = np.ones(frames.shape[:2]) if scores is None else scores
    poses = (
        Poses(p[None], s[None], np.ones(1), boxes=BOX, ids=np.array([1])) for p, s in zip(frames, scores, strict=True)
    )
    return np.array([smoother(p, t).keypoints[0] for p, t in zip(poses, times, strict=True)])


def sample_noise(count, sigma_px=0.01 * SIZE):
    return np.random.default_rng(0).normal(0, sigma_px, (count, 14, 2))


def test_keypoints_at_rest_are_unchanged():
    points = np.full((50, 3, 2), 123.25)
    assert (smooth_frames(points, np.arange(50) / 25) == 123.25).all()


def test_two_frames_give_what_the_formula_gives():
    """tau = 1 / (2 pi); the speed 5 px in 0.1 s, 0.5 sizes a second, is low-passed by the factor 0.1 / (0.1 + tau)."""
    tau = 1 / (2 * np.pi)
    speed = 0.5 * 0.1 / (0.1 + tau)
    expected = 5 / (1 + 1 / (2 * np.pi * (1 + 5 * speed) * 0.1))
    result = smooth_frames(np.array([[[0.0, 0]], [[3.0, 4]]]), [0.0, 0.1])
    assert np.linalg.norm(result[1, 0]) == pytest.approx(expected, rel=1e-6)
    assert result[1, 0, 1] / result[1, 0, 0] == pytest.approx(4 / 3)


def test_the_factor_of_one_hertz_is_one_half_at_its_time_constant():
    assert smoothing_factor(1.0, np.array(1 / (2 * np.pi))) == pytest.approx(0.5)


@pytest.mark.parametrize(('fps', 'factor'), [(15, 3), (30, 5), (60, 8)])
def test_the_jitter_of_a_keypoint_at_rest_falls_by_a_factor(fps, factor):
    """Noise of 1 % of the instance size; jitter is the change from frame to frame."""
    raw = sample_noise(10 * fps)
    smoothed = smooth_frames(raw, np.arange(10 * fps) / fps)
    assert np.diff(raw[fps:], axis=0).std() > factor * np.diff(smoothed[fps:], axis=0).std()


@pytest.mark.parametrize('fps', [15, 30, 60])
@pytest.mark.parametrize('speed', [1.0, 3.0])
def test_a_moving_keypoint_lags_less_than_30_ms(fps, speed):
    times = np.arange(4 * fps) / fps
    raw = speed * SIZE * times[:, None, None] * np.array([1.0, 0])
    lag_s = (raw - smooth_frames(raw, times))[2 * fps :, 0, 0] / (speed * SIZE)
    assert 0 < lag_s.max() < 0.03


def test_frame_rates_agree_on_a_swinging_hand():
    """Half a size to either side, once a second: the results at common times lie within 1 % of the size."""
    swing = {
        fps: smooth_frames(0.5 * SIZE * np.sin(2 * np.pi * np.arange(4 * fps) / fps)[:, None, None] * [[[1, 0]]],
                           np.arange(4 * fps) / fps)
        for fps in (30, 60, 120)
    }  # fmt: skip
    assert np.abs(swing[30] - swing[120][::4]).max() < 0.02 * SIZE
    assert np.abs(swing[60] - swing[120][::2]).max() < 0.01 * SIZE


def test_after_a_gap_the_new_position_counts_nearly_alone():
    smoothed = smooth_frames(np.array([[[0.0, 0]], [[0.0, 0]], [[90.0, 0]]]), [0.0, 0.04, 5.0])
    assert smoothed[2, 0, 0] == pytest.approx(90, rel=0.04)


def test_keypoints_that_score_low_are_unchanged_and_do_not_update_the_filter():
    points, scores = np.zeros((4, 2, 2)), np.ones((4, 2))
    points[2], scores[2, 0] = 50, 0.01
    smoothed = smooth_frames(points, np.arange(4) / 25, scores)
    assert (smoothed[2, 0] == 50).all()
    assert (smoothed[3, 0] == 0).all()
    assert 0 < smoothed[2, 1, 0] < 50
    assert smoothed[3, 1, 0] > 0


def test_every_id_has_its_own_filter_in_any_order():
    one, other = np.zeros((1, 2, 2)), np.full((1, 2, 2), 400.0)
    smoother = OneEuroSmoother()
    for step, ids in enumerate(([1, 2], [2, 1], [1, 2])):
        points = np.concatenate([one if n == 1 else other for n in ids])
        poses = Poses(points, np.ones((2, 2)), np.ones(2), boxes=np.tile(BOX, (2, 1)), ids=np.array(ids))
        assert (smoother(poses, step / 25).keypoints == points).all()
    assert (smoother(Poses(one, np.ones((1, 2)), np.ones(1), ids=np.array([3])), 60.0).keypoints == one).all()
    assert list(smoother.filters) == [3]


def test_a_keypoint_that_never_was_visible_leaves_the_others_smoothed():
    points = sample_noise(20)
    scores = np.ones(points.shape[:2])
    scores[:, 5] = 0
    times = np.arange(20) / 25
    others = np.arange(points.shape[1]) != 5
    hidden = smooth_frames(points, times, scores)
    np.testing.assert_array_equal(hidden[:, others], smooth_frames(points, times)[:, others])
    assert np.abs(hidden - points)[1:, others].max() > 0.1


def test_a_filter_is_remembered_while_one_keypoint_is_visible():
    """For 12 s, longer than the filter of an instance that is not seen at all."""
    frames = np.zeros((26, 2, 2))
    frames[-1] = 10.0
    scores = np.ones((26, 2))
    scores[1:-1, 1] = 0
    smoothed = smooth_frames(frames, np.arange(26) / 2, scores)
    assert (smoothed[-1] < 10).all()


@pytest.mark.parametrize(('gap_s', 'is_remembered'), [(10.0, True), (10.5, False)])
def test_a_filter_is_dropped_ten_seconds_after_its_last_visible_keypoint(gap_s, is_remembered):
    """Also if another keypoint never was visible."""
    smoother = OneEuroSmoother()
    instance = Poses(np.zeros((1, 2, 2)), np.array([[1.0, 0]]), np.ones(1), ids=np.array([7]))
    smoother(instance, 1.0)
    smoother(instance[:0], 1.0 + gap_s)
    assert (7 in smoother.filters) == is_remembered


def test_smoothed_keypoints_have_single_precision():
    assert smooth_frames(np.zeros((2, 3, 2)), [0.0, 0.04]).dtype == np.float32


def test_empty_poses_stay_empty():
    empty = Poses(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0), ids=np.zeros(0, int))
    assert len(OneEuroSmoother()(empty, 0.0)) == 0


def test_impossible_settings_and_instances_without_ids_are_refused():
    for settings in (dict(min_cutoff=0), dict(d_cutoff=0), dict(beta=-0.5)):
        name, value = next(iter(settings.items()))
        with pytest.raises(ConfigError, match=f'{name}={value}.*: cutoffs are positive'):
            OneEuroSmoother(**settings)
    assert OneEuroSmoother(beta=0).beta == 0  # cutoffs that do not depend on the speed
    with pytest.raises(ConfigError, match='by a tracker first'):
        OneEuroSmoother()(Poses(np.zeros((1, 3, 2)), np.ones((1, 3)), np.ones(1)), 0.0)
