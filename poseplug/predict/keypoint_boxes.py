"""Boxes around predicted keypoints: where a top-down model looks for an instance that another model or frame found."""

from __future__ import annotations

__all__ = ['BoxFollower', 'PoseDetector', 'box_keypoints', 'follow_frames']

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from poseplug.core.boxes import clip_boxes, enclose_keypoints, has_extent
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size
from poseplug.core.poses import Poses
from poseplug.data.sources.box_files import DetectedBoxes
from poseplug.files.video_decoding import VideoFrame
from poseplug.predict.detection_funnel import DetectionFunnel
from poseplug.predict.image_input import ImageInput, open_image
from poseplug.predict.model_loading import ModelSource
from poseplug.predict.predictor import Predictor

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


class PoseDetector:
    """A pose model that finds instances by itself, as the detector of a top-down model.

    A box that the model predicts is taken as it is; one that merely encloses the keypoints gains a margin.

    Args:
        model: a name of `list_models`, a config file or a loaded config.
        weights: a checkpoint of that model.
        threshold: instances with a lower score are dropped.
        device: where the network runs; by default a GPU if there is one.

    Attributes:
        predictor: of that model.
        funnel: how many instances each step left, over all images so far.

    Raises:
        ConfigError: the model does not find instances by itself, or the threshold is not between 0 and 1.
        CheckpointError: the weights cannot be read or do not fit the model.

    Example:
        >>> detector = PoseDetector('rtmo_s_coco_640', 'rtmo_s.safetensors')  # doctest: +SKIP
        >>> predictor = Predictor('vitpose_s_coco_256x192', 'vitpose_s.pth', detector=detector)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ModelSource,
        weights: str | Path | None = None,
        threshold: float = 0.4,
        device: str | torch.device | None = None,
    ):
        if not 0 <= threshold <= 1:
            raise ConfigError(f'PoseDetector: threshold lies between 0 and 1; got {threshold}')
        self.predictor, self.threshold = Predictor(model, weights, device), threshold
        if not self.predictor.model.finds_instances:
            name = type(self.predictor.model).__name__
            raise ConfigError(
                f'{self.predictor.name} is a {name}, which needs boxes itself; a detector finds instances in whole '
                f'images'
            )
        self.funnel = DetectionFunnel()

    @property
    def description(self) -> str:
        """The model in words."""
        return f'{self.predictor.name}: a pose model whose instances are the boxes'

    def describe_funnel(self) -> str:
        """Describe in words what became of the instances of all images so far."""
        return self.funnel.describe(self.threshold, 'instance')

    def __call__(self, images: Sequence[ImageInput], /) -> list[DetectedBoxes]:
        """Detect the instances of every image.

        Args:
            images: arrays (H, W, 3) of uint8 in BGR order, paths, or the bytes of image files.

        Returns:
            For each image boxes (N, 4), two corners in px, and scores (N,), the highest first.
        """
        opened = [open_image(image, index)[1] for index, image in enumerate(images)]
        predictions = self.predictor(opened) if opened else []
        return [self._select_boxes(poses.numpy(), image) for image, poses in zip(opened, predictions, strict=True)]

    def _select_boxes(self, poses: Poses, image: np.ndarray) -> DetectedBoxes:
        """The boxes of one image whose score reaches the threshold."""
        expanded, _ = box_keypoints(poses, min_score=0.0)
        boxes = expanded
        if poses.boxes is not None:
            encloses = np.isclose(poses.boxes, _remove_margins(expanded), atol=1.0).all(axis=1, keepdims=True)
            boxes = np.where(encloses, expanded, poses.boxes)
        boxes = clip_boxes(boxes, np.array([image.shape[1::-1]]))
        scores = np.asarray(poses.instance_scores, float)
        confident, is_large = scores >= self.threshold, has_extent(boxes)
        selected = np.flatnonzero(confident & is_large)
        selected = selected[np.argsort(-scores[selected], kind='stable')]
        self.funnel += DetectionFunnel(
            images=1,
            empty_images=int(len(selected) == 0),
            candidates=len(scores),
            confident=int(confident.sum()),
            small=int((confident & ~is_large).sum()),
            boxes=len(selected),
            top_score=float(scores.max(initial=0.0)),
        )
        return DetectedBoxes(boxes[selected], scores[selected])


def _remove_margins(expanded: np.ndarray) -> np.ndarray:
    """Undo the margin of `box_keypoints`."""
    margins = (expanded[:, 2:] - expanded[:, :2]) * _MARGIN_FRACTION / (1 + 2 * _MARGIN_FRACTION)
    return np.concatenate([expanded[:, :2] + margins, expanded[:, 2:] - margins], axis=1)


class BoxFollower:
    """Gives boxes for the frames between two runs of a detector: around the last keypoints, moved as they moved.

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
        """Take the poses of the frame, with ids."""
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
                    shifts[n] = np.median(displacement[visible], axis=0)
        return shifts


def follow_frames(
    predictor: Predictor,
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
