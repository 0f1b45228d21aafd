"""The interface of a predictor, by which videos, trackers and result files use one."""

from __future__ import annotations

__all__ = ['PosePredictor', 'stream_frames']

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from poseplug.core.boxes import BoxFormat
from poseplug.core.skeleton import Skeleton
from poseplug.predict.detectors import Detector
from poseplug.predict.result import Result


class PosePredictor(Protocol):
    """`Predictor`, or a class that predicts without torch.

    Attributes:
        name: names of the model and the weights, for result files.
        skeleton: names and order of the keypoints.
        detector: finds boxes in images that are given without; None for none.
    """

    name: str
    skeleton: Skeleton
    detector: Detector | None

    @property
    def finds_instances(self) -> bool:
        """Whether the instances of an image without boxes are found, by the model or by the detector."""
        ...

    @property
    def score_meaning(self) -> str:
        """What the score of a keypoint means."""
        ...

    def stream(
        self,
        images: Any,
        boxes: Iterable[Any] | None = None,
        batch_size: int = 32,
        box_format: BoxFormat = 'xywh',
    ) -> Iterator[Result]:
        """Predict image by image and hold one batch of images in memory."""
        ...

    def stream_pairs(
        self, pairs: Iterable[tuple[Any, Any]], batch_size: int = 32, box_format: BoxFormat = 'xywh'
    ) -> Iterator[Result]:
        """Predict image by image, where every image comes with its boxes or None."""
        ...


def stream_frames(
    predictor: PosePredictor, pairs: Iterable[tuple[Any, Any]], batch_size: int, box_format: BoxFormat
) -> Iterator[Result]:
    """Predict every frame of a camera or a stream before the next one is read.

    Args:
        predictor: of the frames.
        pairs: a frame, and its boxes or None.
        batch_size: instances that go through the network at once.
        box_format: 'xywh' or 'xyxy'.

    Returns:
        An iterator over the `Result` of each frame, numbered from 0.
    """
    for index, pair in enumerate(pairs):
        for result in predictor.stream_pairs([pair], batch_size, box_format):
            # every pair is predicted by itself, so that each result has the index 0
            yield replace(result, index=index)
