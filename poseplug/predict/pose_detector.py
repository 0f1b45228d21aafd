"""A pose model that finds instances by itself, as the detector of another one."""

from __future__ import annotations

__all__ = ['PoseDetector']

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from poseplug.core.boxes import DetectedBoxes, clip_boxes, has_extent
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.detection_funnel import DetectionFunnel
from poseplug.predict.image_input import ImageInput, open_image
from poseplug.predict.keypoint_boxes import box_keypoints, remove_margins
from poseplug.predict.model_loading import ModelSource
from poseplug.predict.predictor import Predictor


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
        # opened once, for the model and for clipping
        opened = [open_image(image, index)[1] for index, image in enumerate(images)]
        predictions = self.predictor(opened) if opened else []
        return [self._select_boxes(poses.numpy(), image) for image, poses in zip(opened, predictions, strict=True)]

    def _select_boxes(self, poses: Poses, image: np.ndarray) -> DetectedBoxes:
        """The boxes of one image whose score reaches the threshold."""
        expanded, _ = box_keypoints(poses, min_score=0.0)
        boxes = expanded
        if poses.boxes is not None:
            # codecs without boxes of their own return those around the keypoints, which cut off head and hands
            encloses = np.isclose(poses.boxes, remove_margins(expanded), atol=1.0).all(axis=1, keepdims=True)
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
