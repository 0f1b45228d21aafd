"""The contracts of trackers and smoothers, which go through a video frame by frame."""

from __future__ import annotations

__all__ = ['SmootherContract', 'TrackerContract']

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from poseplug.core.errors import PoseplugError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.predict.smoothing import Smoother
from poseplug.predict.tracking import Tracker
from poseplug.skeletons.coco import COCO
from poseplug.testing.base import Contract

_FRAMES_PER_SECOND = 25
_NUM_INSTANCES, _SIZE_PX = 3, 80.0
_DISTANCE_PX = 400.0  # between instances: no tracker can confuse them
_NOISE_PX = 1.5


def _create_poses(skeleton: Skeleton, keypoints: np.ndarray) -> Poses:
    """Poses with high scores, and with boxes around the keypoints (N, K, 2)."""
    boxes = np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)
    return Poses(keypoints, np.full(keypoints.shape[:2], 0.9), np.full(len(keypoints), 0.9), boxes=boxes)


def _create_standing_keypoints(skeleton: Skeleton) -> np.ndarray:
    """Keypoints (N, K, 2) in px of instances that stand beside each other."""
    points = np.random.default_rng(0).uniform(0, _SIZE_PX, (_NUM_INSTANCES, len(skeleton), 2))
    points[..., 0] += _DISTANCE_PX * np.arange(_NUM_INSTANCES)[:, None]
    return points


def _iterate_frame_times(num_frames: int, first: int = 0) -> Iterator[float]:
    """The times of frames in seconds."""
    return (i / _FRAMES_PER_SECOND for i in range(first, first + num_frames))


class TrackerContract(Contract):
    """Laws of a tracker: `build_part(skeleton)` returns a new one.

    Attributes:
        skeleton: of the instances.
        num_warmup_frames: number of frames after which instances that stand still have ids.

    Example:
        >>> from poseplug.predict.tracking import SimilarityTracker
        >>> class TestSimilarityTracker(TrackerContract):
        ...     def build_part(self, skeleton):
        ...         return SimilarityTracker(skeleton)
        >>> TestSimilarityTracker().test_instances_keep_their_ids_in_any_order()
    """

    skeleton: ClassVar[Skeleton] = COCO
    num_warmup_frames: ClassVar[int] = 1

    def build_part(self, skeleton: Skeleton) -> Tracker:
        return super().build_part(skeleton)

    def test_ids_are_whole_numbers_from_1_and_the_poses_stay_as_they_are(self) -> None:
        track = self.build_part(self.skeleton)
        poses = _create_poses(self.skeleton, _create_standing_keypoints(self.skeleton))
        for seconds in _iterate_frame_times(self.num_warmup_frames):
            tracked = track(poses, seconds)
        ids = np.asarray(tracked.ids)
        assert ids.shape == (_NUM_INSTANCES,)
        assert np.issubdtype(ids.dtype, np.integer)
        assert ids.min() >= 1
        assert len({*ids.tolist()}) == _NUM_INSTANCES, 'two instances of one frame have the same id'
        order = np.argsort(tracked.keypoints[:, 0, 0])  # a tracker may sort them
        np.testing.assert_allclose(tracked.keypoints[order], poses.keypoints, err_msg='a tracker moves no keypoint')

    def test_instances_keep_their_ids_in_any_order(self) -> None:
        track, rng = self.build_part(self.skeleton), np.random.default_rng(1)
        keypoints = _create_standing_keypoints(self.skeleton)
        ids_by_position: dict[int, set[int]] = {}
        for seconds in _iterate_frame_times(self.num_warmup_frames + 10):
            order = rng.permutation(_NUM_INSTANCES)
            tracked = track(_create_poses(self.skeleton, keypoints[order]), seconds)
            # Instances stand one distance apart, so that x says which one it is.
            for points, instance_id in zip(tracked.keypoints, np.asarray(tracked.ids).tolist(), strict=True):
                ids_by_position.setdefault(int(points[0, 0] // _DISTANCE_PX), set()).add(instance_id)
        assert len(ids_by_position) == _NUM_INSTANCES
        assert all(len(ids) == 1 for ids in ids_by_position.values()), f'ids by position: {ids_by_position}'

    def test_a_frame_without_instances_is_passed_and_the_next_one_is_tracked(self) -> None:
        track = self.build_part(self.skeleton)
        poses = _create_poses(self.skeleton, _create_standing_keypoints(self.skeleton))
        for seconds in _iterate_frame_times(self.num_warmup_frames):
            before = track(poses, seconds)
        (seconds,) = _iterate_frame_times(1, first=self.num_warmup_frames)
        assert np.asarray(track(poses[:0], seconds).ids).shape == (0,)
        for seconds in _iterate_frame_times(self.num_warmup_frames, first=self.num_warmup_frames + 1):
            after = track(poses, seconds)
        assert sorted(np.asarray(after.ids)) == sorted(np.asarray(before.ids)), 'one empty frame changes no id'

    def test_two_videos_have_nothing_to_do_with_each_other(self) -> None:
        poses = _create_poses(self.skeleton, _create_standing_keypoints(self.skeleton))
        ids = []
        for _ in range(2):
            track = self.build_part(self.skeleton)
            for seconds in _iterate_frame_times(self.num_warmup_frames):
                tracked = track(poses, seconds)
            ids.append(np.asarray(tracked.ids).tolist())
        # Ids start anew in every video: a tracker keeps no state in its class.
        assert ids[0] == ids[1]


class SmootherContract(Contract):
    """Laws of a smoother: `build_part()` returns a new one.

    Attributes:
        skeleton: of the instances.
        max_noise_ratio: noise of instances at rest after smoothing, divided by that before.

    Example:
        >>> from poseplug.predict.smoothing import OneEuroSmoother
        >>> class TestOneEuroSmoother(SmootherContract):
        ...     def build_part(self):
        ...         return OneEuroSmoother()
        >>> TestOneEuroSmoother().test_the_order_of_the_instances_changes_nothing()
    """

    skeleton: ClassVar[Skeleton] = COCO
    max_noise_ratio: ClassVar[float] = 0.8

    def build_part(self) -> Smoother:
        return super().build_part()

    def create_frames(self, noise_px: float, num_frames: int = 30) -> list[Poses]:
        """Create the frames of instances that stand still, with ids, up to noise of their keypoints.

        Args:
            noise_px: standard deviation in px.
            num_frames: number of frames.
        """
        rng, keypoints = np.random.default_rng(2), _create_standing_keypoints(self.skeleton)
        frames = [
            _create_poses(self.skeleton, keypoints + rng.normal(0, noise_px, keypoints.shape))
            for _ in range(num_frames)
        ]
        return [replace(frame, ids=np.arange(1, _NUM_INSTANCES + 1)) for frame in frames]

    def smooth_frames(self, frames: list[Poses]) -> list[Poses]:
        """Pass the frames through a new smoother."""
        smooth = self.build_part()
        times = _iterate_frame_times(len(frames))
        return [smooth(poses, seconds) for poses, seconds in zip(frames, times, strict=True)]

    def test_what_stands_still_stays_where_it_is_and_nothing_but_keypoints_changes(self) -> None:
        frames = self.create_frames(noise_px=0)
        for before, after in zip(frames, self.smooth_frames(frames), strict=True):
            np.testing.assert_allclose(after.keypoints, before.keypoints, atol=1e-2)
            np.testing.assert_array_equal(after.ids, before.ids)
            np.testing.assert_array_equal(after.keypoint_scores, before.keypoint_scores)
            np.testing.assert_array_equal(after.instance_scores, before.instance_scores)

    def test_noise_becomes_less(self) -> None:
        frames = self.create_frames(_NOISE_PX, num_frames=60)
        before, after = (
            np.stack([poses.keypoints for poses in video]) for video in (frames, self.smooth_frames(frames))
        )
        assert after.std(axis=0).mean() <= self.max_noise_ratio * before.std(axis=0).mean()
        # Less noise alone would also be reached by pulling positions somewhere else.
        still = np.abs(after.mean(axis=0) - before.mean(axis=0)).max()
        assert still < _NOISE_PX, f'the mean position of an instance at rest moves by {still:.2f} px'

    def test_the_order_of_the_instances_changes_nothing(self) -> None:
        frames = self.create_frames(_NOISE_PX)
        reversed_frames = [poses[::-1] for poses in frames]
        for first, second in zip(self.smooth_frames(frames), self.smooth_frames(reversed_frames), strict=True):
            np.testing.assert_allclose(second.keypoints[::-1], first.keypoints, atol=1e-4)

    def test_a_frame_without_instances_is_passed(self) -> None:
        frames = self.create_frames(_NOISE_PX, num_frames=3)
        # A frame in which the detector finds no instance, as happens in every video.
        frames[1] = frames[1][:0]
        smoothed = self.smooth_frames(frames)
        assert [len(poses) for poses in smoothed] == [_NUM_INSTANCES, 0, _NUM_INSTANCES]
        assert all(np.isfinite(poses.keypoints).all() for poses in smoothed)

    def test_instances_without_ids_are_refused(self) -> None:
        poses = replace(self.create_frames(0, num_frames=1)[0], ids=None)
        with pytest.raises(PoseplugError):
            self.build_part()(poses, 0.0)
