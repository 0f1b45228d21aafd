"""Boxes around predicted keypoints: where a top-down model looks for an instance that another model or frame found."""

from __future__ import annotations

__all__ = ['BoxFollower', 'box_keypoints', 'follow_frames', 'remove_margins']

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from poseplug.core.boxes import clip_boxes, enclose_keypoints, has_extent
from poseplug.core.geometry import Size
from poseplug.core.poses import Poses
from poseplug.files.video_decoding import VideoFrame
from poseplug.predict.pose_predictor import PosePredictor

_MARGIN_FRACTION = 0.125  # on every side: keypoints are joints, and a body goes on beyond them (a quarter in all)
_MIN_KEYPOINT_SCORE = 0.2  # as in COCO's rule for the score of an instance
_MIN_KEYPOINTS = 3  # that an instance needs for a box of its own


def box_keypoints(poses: Poses, min_score: float = _MIN_KEYPOINT_SCORE) -> tuple[np.ndarray, np.ndarray]:
    """Compute boxes around the keypoints of instances, with a margin.

    Args:
        poses: of one image.
        min_score: keypoints with a lower score do not count.

    Returns:
        Boxes (N, 4), x, y of two corners in px; and a mask (N,), False where too few keypoints count.

    Example:
        >>> poses = Poses(np.array([[[10.0, 20], [50, 100], [30, 60]]]), np.ones((1, 3)), np.ones(1))
        >>> box_keypoints(poses)[0].tolist()
        [[5.0, 10.0, 55.0, 110.0]]
    """
    poses = poses.numpy()
    counts = np.asarray(poses.keypoint_scores) >= min_score
    boxes = enclose_keypoints(np.asarray(poses.keypoints, float), counts)
    margins = _MARGIN_FRACTION * (boxes[:, 2:] - boxes[:, :2])
    expanded = np.concatenate([boxes[:, :2] - margins, boxes[:, 2:] + margins], axis=1)
    return expanded, (counts.sum(axis=1) >= _MIN_KEYPOINTS) & has_extent(boxes)


def remove_margins(expanded: np.ndarray) -> np.ndarray:
    """Undo the margin of `box_keypoints`.

    Args:
        expanded: (N, 4) boxes with a margin.

    Returns:
        (N, 4) boxes without it.
    """
    # a side of the box without margin is that of the expanded one divided by 1 + 2 x fraction
    margins = (expanded[:, 2:] - expanded[:, :2]) * _MARGIN_FRACTION / (1 + 2 * _MARGIN_FRACTION)
    boxes: np.ndarray = np.concatenate([expanded[:, :2] + margins, expanded[:, 2:] - margins], axis=1)
    return boxes


class BoxFollower:
    """Predicts boxes for the frames between two runs of a detector: around the last keypoints, moved as they moved.

    An instance with too few confident keypoints is lost until the detector runs again, which is also when new
    instances are found.

    Args:
        interval: the detector runs on one of so many frames.

    Example:
        >>> follower = BoxFollower(interval=2)
        >>> follower.next_boxes((100, 80)) is None  # the detector's turn
        True
        >>> points = np.array([[[10.0, 20], [50, 60], [30, 40]]])
        >>> follower.update(Poses(points, np.ones((1, 3)), np.ones(1), ids=np.array([1])))
        >>> follower.next_boxes((100, 80)).tolist()
        [[5.0, 15.0, 55.0, 65.0]]
    """

    def __init__(self, interval: int):
        self.interval, self.num_frames = interval, 0
        self.earlier: Poses | None = None
        self.last: Poses | None = None

    def next_boxes(self, image_size: Size) -> np.ndarray | None:
        """Return the boxes (N, 4) of the next frame; None if the detector runs on it.

        Args:
            image_size: (width, height) of the frame in px.
        """
        if self.last is None or self.num_frames % self.interval == 0:
            return None
        boxes, is_boxed = box_keypoints(self.last)
        boxes = clip_boxes(boxes + np.tile(self._predict_shifts(self.last), 2), np.array([image_size]))
        followed: np.ndarray = boxes[is_boxed & has_extent(boxes)]
        return followed

    def update(self, poses: Poses) -> None:
        """Store the poses of the frame, with ids."""
        self.num_frames += 1
        self.earlier, self.last = self.last, poses.numpy()

    def _predict_shifts(self, last: Poses) -> np.ndarray:
        """The displacement (N, 2) of every instance from the frame before: it goes on as it went."""
        shifts = np.zeros((len(last), 2))
        if self.earlier is None or self.earlier.ids is None or last.ids is None:
            return shifts
        indices = {int(instance_id): index for index, instance_id in enumerate(self.earlier.ids)}
        for n, instance_id in enumerate(last.ids):
            index = indices.get(int(instance_id))
            if index is not None:
                scores = np.minimum(last.keypoint_scores[n], self.earlier.keypoint_scores[index])
                displacement = np.asarray(last.keypoints[n] - self.earlier.keypoints[index], float)
                visible = scores >= _MIN_KEYPOINT_SCORE
                if visible.any():
                    # the median: a few keypoints that jump do not move the box
                    shifts[n] = np.median(displacement[visible], axis=0)
        return shifts


def follow_frames(
    predictor: PosePredictor,
    frames: Iterable[VideoFrame],
    detector_interval: int,
    identify: Callable[[Poses, float], Poses],
) -> Iterator[tuple[VideoFrame, Poses]]:
    """Predict frame by frame, with the detector on some frames and the boxes of the poses before on the others.

    Args:
        predictor: with a detector.
        frames: in order.
        detector_interval: the detector runs on one of so many frames.
        identify: assigns ids to the poses of a frame, given its time in seconds.

    Yields:
        Each frame and its poses with ids, in px of the frame.
    """
    follower = BoxFollower(detector_interval)
    for frame in frames:
        boxes = follower.next_boxes((frame.image.shape[1], frame.image.shape[0]))
        (frame_poses,) = predictor.stream([frame.image], None if boxes is None else [boxes], box_format='xyxy')
        poses = identify(frame_poses.numpy(), frame.seconds)
        follower.update(poses)
        yield frame, poses
