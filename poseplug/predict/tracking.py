"""Tracking of instances over the frames of a video: detections are matched to where tracks are expected."""

from __future__ import annotations

__all__ = ['InstanceGeometry', 'SimilarityTracker', 'Track', 'Tracker', 'box_similarity']

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from poseplug.core.boxes import box_areas, box_iou, enclose_keypoints
from poseplug.core.errors import ConfigError, VideoError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.grouping.oks import oks
from poseplug.registry import TRACKERS

# Sizes are square roots of areas, so that all of this holds for any resolution.
_BOX_MARGIN_FRACTION = 0.1  # a box around keypoints gains this fraction of its longer side on every side
_MIN_AREA_FRACTION = 0.25  # of the longer side squared: a person seen from the side has a narrow box, not a small size
_TOLERANCE_SIZES_PER_S = 1.0  # by how much instances may deviate from their expected position
_VELOCITY_DECAY_S = 0.5  # time constant with which an unseen track comes to rest
_VELOCITY_AVERAGE_S = 0.1  # time constant of the running mean of the velocity
_LOST_DECAY_S = 0.5  # the similarity to a track falls to 1 / e after so long unseen


@dataclass(frozen=True)
class InstanceGeometry:
    """The geometry of N instances that tracking compares.

    Attributes:
        keypoints: (N, K, 2) px; 0 where not visible.
        visible: (N, K) bool, which keypoints count.
        boxes: (N, 4) px, x, y of two corners.
        areas: (N,) px².
    """

    keypoints: np.ndarray
    visible: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    @classmethod
    def from_poses(cls, poses: Poses, threshold: float) -> InstanceGeometry:
        """Extract the geometry of poses.

        Args:
            poses: NumPy poses; without boxes they get those around their keypoints.
            threshold: keypoints with a lower score do not count.
        """
        keypoints = np.asarray(poses.keypoints, dtype=float)
        visible = (np.asarray(poses.keypoint_scores) >= threshold) & np.isfinite(keypoints).all(axis=-1)
        # NaN would spread through sums over all keypoints
        keypoints = np.where(visible[..., None], keypoints, 0)
        if poses.boxes is None:
            boxes = _boxes_around_keypoints(keypoints, visible)
        else:
            boxes = np.asarray(poses.boxes, dtype=float)
        longer_sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        areas = np.maximum(box_areas(boxes), _MIN_AREA_FRACTION * longer_sides**2)
        return cls(keypoints, visible, boxes, areas)

    def __len__(self) -> int:
        return len(self.areas)

    def __getitem__(self, index: Any) -> InstanceGeometry:
        """Select instances by an index array, a slice or a mask."""
        return InstanceGeometry(self.keypoints[index], self.visible[index], self.boxes[index], self.areas[index])

    def translate(self, shifts: np.ndarray) -> InstanceGeometry:
        """Shift every instance by its own (N, 2) px."""
        return replace(self, keypoints=self.keypoints + shifts[:, None], boxes=self.boxes + np.tile(shifts, 2))

    def expand_boxes(self, margins: np.ndarray) -> np.ndarray:
        """Return the boxes (N, 4) with margins (N,) px on every side, or (T, N, 4) with T margins (T, 1)."""
        expanded: np.ndarray = self.boxes + margins[..., None] * np.array([-1, -1, 1, 1])
        return expanded


def _boxes_around_keypoints(keypoints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) around the visible keypoints (N, K, 2), with a margin; at 0 without any."""
    boxes = enclose_keypoints(keypoints, visible)
    margin = _BOX_MARGIN_FRACTION * (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


def box_similarity(boxes: np.ndarray, other_boxes: np.ndarray) -> np.ndarray:
    """Mean of IoU and the covered fraction of the smaller box.

    The second term recognizes a half-hidden instance, whose box is smaller than before.

    Args:
        boxes: (..., N, 4), x, y of two corners.
        other_boxes: (..., M, 4), x, y of two corners.

    Returns:
        (..., N, M) from 0 to 1; 0 for a box without extent.
    """
    iou = box_iou(boxes, other_boxes)
    areas, other_areas = box_areas(boxes)[..., :, None], box_areas(other_boxes)[..., None, :]
    smaller_areas = np.minimum(areas, other_areas)
    intersection = iou / (1 + iou) * (areas + other_areas)  # iou = intersection / (sum of areas - intersection)
    similarity: np.ndarray = (iou + intersection / np.where(smaller_areas > 0, smaller_areas, 1)) / 2
    return similarity


@dataclass(frozen=True, eq=False)
class Track:
    """An instance with an id, as it was last seen.

    Attributes:
        id: unique number, from 1.
        geometry: of this one instance.
        seconds: time at which it was last seen.
        frame: number of the processed frame in which it was last seen.
        velocity: (2,) px/s, running mean; 0 after one detection.
        num_hits: number of its detections.
    """

    id: int
    geometry: InstanceGeometry
    seconds: float
    frame: int
    velocity: np.ndarray
    num_hits: int = 1

    def predict_shift(self, seconds: float) -> np.ndarray:
        """Return the expected displacement (2,) in px since it was last seen: it decelerates and comes to rest."""
        # the integral of a velocity that decays by 1 / e in every `_VELOCITY_DECAY_S`
        return self.velocity * _VELOCITY_DECAY_S * (1 - math.exp((self.seconds - seconds) / _VELOCITY_DECAY_S))

    def update(self, geometry: InstanceGeometry, seconds: float, frame: int) -> Track:
        """Return the track after a new detection (one instance) in a frame and at its time."""
        visible_in_both = (self.geometry.visible & geometry.visible)[0]
        if visible_in_both.any():
            displacement = (geometry.keypoints - self.geometry.keypoints)[0, visible_in_both].mean(axis=0)
        else:
            displacement = (geometry.boxes - self.geometry.boxes)[0].reshape(2, 2).mean(axis=0)
        elapsed_s = seconds - self.seconds
        # the second detection alone makes the velocity, since that of one detection is unknown and not 0
        weight = elapsed_s / (elapsed_s + _VELOCITY_AVERAGE_S) if self.num_hits > 1 else 1.0
        # a running mean over about `_VELOCITY_AVERAGE_S`, whatever the frame rate
        velocity = self.velocity + weight * (displacement / elapsed_s - self.velocity)
        return Track(self.id, geometry, seconds, frame, velocity, self.num_hits + 1)


class Tracker(ABC):
    """Assigns ids to the instances of a video, frame by frame: the interface of trackers.

    A tracker is registered in `TRACKERS` and built anew for every video, with the video's `skeleton` if its constructor
    takes one.
    """

    @abstractmethod
    def __call__(self, poses: Poses, seconds: float) -> Poses:
        """Assign ids to the instances of the next frame.

        Args:
            poses: of the frame, in px.
            seconds: time of the frame, later than that of the frame before.

        Returns:
            The poses as NumPy arrays, with `ids` (N,), whole numbers from 1; a tracker may drop instances.
        """


@TRACKERS.register_module()
class SimilarityTracker(Tracker):
    """Assigns every detection to the track that it resembles: ids are whole numbers from 1, none used twice.

    Every track is expected where it was heading. Detections are assigned to tracks so that the sum of similarities is
    the largest (Hungarian algorithm); a track that was not seen weighs less, the longer. The similarity is the mean of
    OKS and box similarity, or the latter alone for a skeleton without OKS constants; both become more tolerant with the
    elapsed time. Frames that are lost or skipped need no settings: an unseen track is dropped when both `max_age` and
    `min_frames` are over.

    Args:
        skeleton: of the instances.
        max_age: seconds for which an unseen track is remembered.
        min_frames: number of processed frames for which it is remembered at least, however far apart they are.
        min_similarity: of a detection and a track, for a match; 0 to 1.
        threshold: keypoints with a lower score do not count.
        num_instances: the known number of instances: of each frame those with the highest scores are kept, and their
            ids are 1 to `num_instances`. None if the number is not known.

    Raises:
        ConfigError: a setting is out of its range.

    Example:
        >>> from poseplug.registry.skeletons import get_skeleton
        >>> track = SimilarityTracker(get_skeleton('coco'))
        >>> points = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
        >>> poses = Poses(points + [[[200, 0]], [[0, 0]]], np.ones((2, 17)), np.ones(2))
        >>> track(poses, seconds=0.0).ids.tolist()  # numbered from left to right
        [2, 1]
    """

    def __init__(
        self,
        skeleton: Skeleton,
        max_age: float = 3.0,
        min_frames: int = 3,
        min_similarity: float = 0.2,
        threshold: float = 0.05,
        num_instances: int | None = None,
    ):
        _check_settings(max_age, min_frames, min_similarity, num_instances)
        self.max_age, self.min_frames, self.min_similarity = max_age, min_frames, min_similarity
        self.threshold, self.num_instances = threshold, num_instances
        self.sigmas = None if skeleton.sigmas is None else np.array(skeleton.sigmas, np.float32)
        self.tracks: list[Track] = []
        self.last_seconds, self.num_ids, self.num_frames = -math.inf, 0, 0

    def __call__(self, poses: Poses, seconds: float) -> Poses:
        """Assign ids to the instances of the next frame; see `Tracker`.

        Raises:
            VideoError: the frame is not later than the one before.
        """
        if not seconds > self.last_seconds:
            raise VideoError(
                f'a frame at {seconds:g} s came after one at {self.last_seconds:g} s; pass the frames of a video in '
                f'order, and create a tracker for each video'
            )
        poses = poses.numpy()
        # the highest scores, in the order in which they were given
        if self.num_instances is not None and len(poses) > self.num_instances:
            poses = poses[np.sort(np.argsort(-poses.instance_scores, kind='stable')[: self.num_instances])]
        instances = InstanceGeometry.from_poses(poses, self.threshold)
        ids = np.zeros(len(poses), dtype=int)
        self.num_frames += 1
        # Each frame: 1. forget old tracks, 2. match the others, 3. start tracks for what is left.
        self.tracks = [track for track in self.tracks if self._is_remembered(track, seconds)]
        if self.tracks and len(ids):
            self._match_tracks(instances, ids, seconds)
        self._start_tracks(instances, ids, seconds)
        self.last_seconds = seconds
        return replace(poses, ids=ids)

    def _is_remembered(self, track: Track, seconds: float) -> bool:
        """Whether a track may still be matched in the current frame."""
        is_recent = seconds - track.seconds <= self.max_age or self.num_frames - track.frame <= self.min_frames
        return is_recent or self.num_instances is not None

    def _match_tracks(self, instances: InstanceGeometry, ids: np.ndarray, seconds: float) -> None:
        """Assign the ids of tracks to the best-matching instances, in place."""
        from scipy.optimize import linear_sum_assignment  # slow to import, and needed from the second frame on only

        similarity = self.compute_similarity(instances, seconds)
        # counted up to the frame before: a track that was seen there has the whole weight
        unseen_s = np.array([self.last_seconds - track.seconds for track in self.tracks])
        # Exponents below -80 would be 0, and the match of a track that was not seen for long would be worth nothing.
        weights = np.exp(np.maximum(-unseen_s / _LOST_DECAY_S, -80))[:, None]
        # 0 for pairs that may not match, so that they add nothing to the sum which the assignment maximizes
        worth = np.where(similarity >= self.min_similarity, similarity * weights, 0)
        for row, column in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            if worth[row, column] > 0:
                self._continue_track(row, column, instances, ids, seconds)
        if self.num_instances is not None:
            self._match_nearest(instances, ids, seconds)

    def _match_nearest(self, instances: InstanceGeometry, ids: np.ndarray, seconds: float) -> None:
        """Assign the ids that are left to the nearest instances, where the number of instances is known, in place."""
        from scipy.optimize import linear_sum_assignment

        assert self.num_instances is not None
        rows = [row for row, track in enumerate(self.tracks) if track.id not in ids]
        columns = np.flatnonzero(ids == 0)
        num_free = self.num_instances - self.num_ids  # ids that were never assigned are left for other instances
        if len(columns) <= num_free or not rows:
            return
        starts = np.stack([_box_centers(self.tracks[row].geometry)[0] for row in rows])
        distances = np.linalg.norm(starts[:, None] - _box_centers(instances)[columns][None], axis=-1)
        # the nearest first: those beyond the number of ids that are left start tracks of their own
        pairs = sorted(zip(*linear_sum_assignment(distances), strict=True), key=lambda pair: distances[pair])
        for row, column in pairs[: len(columns) - num_free]:
            self._continue_track(rows[row], int(columns[column]), instances, ids, seconds)

    def _continue_track(
        self, row: int, column: int, instances: InstanceGeometry, ids: np.ndarray, seconds: float
    ) -> None:
        ids[column] = self.tracks[row].id
        self.tracks[row] = self.tracks[row].update(instances[[column]], seconds, self.num_frames)

    def _start_tracks(self, instances: InstanceGeometry, ids: np.ndarray, seconds: float) -> None:
        """Assign new ids to the instances without one, from left to right, in place."""
        unmatched = np.flatnonzero(ids == 0)
        # by x, and by y where these are equal; `lexsort` sorts by its last key first
        left_to_right = unmatched[np.lexsort(instances.boxes[unmatched, 1::-1].T)]
        for index in left_to_right:
            self.num_ids += 1
            ids[index] = self.num_ids
            self.tracks.append(Track(self.num_ids, instances[[index]], seconds, self.num_frames, np.zeros(2)))

    def compute_similarity(self, instances: InstanceGeometry, seconds: float) -> np.ndarray:
        """Compute the similarity of T tracks and the N instances of a frame.

        Returns:
            (T, N) from 0 to 1.
        """
        # all tracks as one geometry of T instances, so that the similarity is one array operation
        arrays = zip(*(vars(track.geometry).values() for track in self.tracks), strict=True)
        shifts = np.stack([track.predict_shift(seconds) for track in self.tracks])
        expected = InstanceGeometry(*map(np.concatenate, arrays)).translate(shifts)
        elapsed_s = np.array([seconds - track.seconds for track in self.tracks])
        tolerances = _TOLERANCE_SIZES_PER_S * elapsed_s  # (T,) in sizes
        margins = tolerances * np.sqrt(expected.areas) / 2  # half to the track's box, half to the instance's
        # (T, 1, 4) and (T, N, 4): the instances are widened by the margin of each track
        wide_tracks, wide_instances = expected.expand_boxes(margins)[:, None], instances.expand_boxes(margins[:, None])
        boxes = box_similarity(wide_tracks, wide_instances)[:, 0]
        return boxes if self.sigmas is None else (boxes + self._compute_oks(expected, instances, tolerances)) / 2

    def _compute_oks(
        self, expected: InstanceGeometry, instances: InstanceGeometry, tolerances: np.ndarray
    ) -> np.ndarray:
        """OKS (T, N) with the mean of both areas; `tolerances` (T,) in sizes enlarge the OKS sigmas."""
        assert self.sigmas is not None
        # In OKS area x (2 sigma)² is a variance; the tolerance adds its own, as those of independent errors add.
        growth = 1 + (tolerances / (2 * float(self.sigmas.mean()))) ** 2
        areas = (expected.areas[:, None] + instances.areas[None]) / 2 * growth[:, None]
        points, other_points = (geometry.keypoints.astype(np.float32) for geometry in (expected, instances))
        masks = (expected.visible, instances.visible)
        similarities: np.ndarray = oks(points, other_points, areas.astype(np.float32), self.sigmas, *masks)
        return similarities


def _box_centers(instances: InstanceGeometry) -> np.ndarray:
    """Centers (N, 2) of boxes in px."""
    centers: np.ndarray = (instances.boxes[:, :2] + instances.boxes[:, 2:]) / 2
    return centers


def _check_settings(max_age: float, min_frames: int, min_similarity: float, num_instances: int | None) -> None:
    """Refuse settings of a tracker that are out of their range."""
    problems = {
        f'max_age={max_age!r}: expected seconds, 0 or more': not max_age >= 0,
        f'min_frames={min_frames!r}: expected a number of frames, 0 or more': min_frames < 0,
        f'min_similarity={min_similarity!r}: expected 0 to 1': not 0 <= min_similarity <= 1,
        f'num_instances={num_instances!r}: expected at least 1': num_instances is not None and num_instances < 1,
    }
    wrong = [problem for problem, is_wrong in problems.items() if is_wrong]
    if wrong:
        raise ConfigError(f'the tracker has {"; ".join(wrong)}')
