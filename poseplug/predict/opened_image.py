"""Opened images on their way through a predictor, and the results that come of them."""

from __future__ import annotations

__all__ = ['ImageFacts', 'OpenedImage', 'attach_boxes', 'build_result', 'elapsed_ms', 'open_with_boxes']

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from poseplug.core.geometry import Size
from poseplug.core.keypoint_scores import average_confident_scores
from poseplug.core.poses import POSE_ARRAYS, Poses
from poseplug.core.skeleton import Skeleton
from poseplug.predict.box_checks import ImageBoxes
from poseplug.predict.image_input import ImageInput, find_image_form, open_image
from poseplug.predict.result import Result


class OpenedImage(NamedTuple):
    """An image and its boxes, with its position among the caller's images."""

    position: int
    path: Path
    pixels: np.ndarray
    boxes: ImageBoxes
    source: ImageInput
    read_ms: float = 0.0
    seconds: float | None = None

    @property
    def size(self) -> Size:
        """(width, height) in px."""
        return (self.pixels.shape[1], self.pixels.shape[0])


@dataclass
class ImageFacts:
    """Facts about an image that its result states; without the pixels."""

    position: int
    path: Path
    image_size: Size
    source: ImageInput
    speed: dict[str, float]
    seconds: float | None


def open_with_boxes(image: ImageInput, boxes: ImageBoxes, position: int) -> OpenedImage:
    """Open an image, and measure how long that takes."""
    start = time.perf_counter()
    form = find_image_form(image)
    opened = open_image(image, position, form)
    source = opened if form is not None and form.keeps_pixels else image
    return OpenedImage(position, opened.path, opened.pixels, boxes, source, elapsed_ms(start), opened.seconds)


def elapsed_ms(start: float) -> float:
    """Milliseconds since a time of `time.perf_counter`."""
    return 1000 * (time.perf_counter() - start)


def build_result(image: ImageFacts, poses: Poses, skeleton: Skeleton, model_name: str) -> Result:
    """Build the result of an image from its poses, NumPy arrays in px of the image."""
    return Result(
        **{name: getattr(poses, name) for name in POSE_ARRAYS},
        skeleton=skeleton,
        path=image.path,
        image_size=image.image_size,
        read_pixels=partial(_read_pixels, image.source, image.position),
        index=image.position,
        seconds=image.seconds,
        speed=image.speed,
        model_name=model_name,
    )


def _read_pixels(source: ImageInput, position: int) -> np.ndarray:
    """The pixels of an image as it was given."""
    return open_image(source, position).pixels


def attach_boxes(poses: Poses, boxes: np.ndarray, box_scores: np.ndarray | None = None) -> Poses:
    """Attach the boxes that instances were cropped by; detected ones multiply the scores by their own.

    Args:
        poses: N instances.
        boxes: (N, 4), x, y of two corners in px.
        box_scores: (N,) of detected boxes; None for boxes that were given.
    """
    poses = replace(poses, boxes=boxes)
    if box_scores is None:
        return poses
    # As COCO's protocol ranks detections, and the metric with score_mode='bbox_keypoint'.
    scores = box_scores * average_confident_scores(poses.keypoint_scores)
    return replace(poses, instance_scores=scores.astype(np.float32))
