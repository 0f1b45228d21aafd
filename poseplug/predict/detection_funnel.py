"""What becomes of a detector's candidates: checks that they make sense, selection, and how many each step leaves."""

from __future__ import annotations

__all__ = ['DetectionFunnel', 'check_candidates', 'select_detections']

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from poseplug.core.boxes import DetectedBoxes, clip_boxes
from poseplug.core.errors import CheckpointError
from poseplug.core.geometry import Size, transform_points
from poseplug.grouping.nms import nms
from poseplug.predict.detector_families.base import Candidates

_MIN_BOX_SIZE_PX = 1.0  # boxes that are narrower or lower once clipped to the image are slivers, not people
_SCORE_TOLERANCE = 1e-2  # half precision rounds a score of 1 up
_MAX_RELATIVE_COORDINATE = 2.0  # boxes that end here are relative to the input: in px they would be specks
_MIN_INPUT_SIZE_PX = 16  # of the inputs that this says anything about
_MAX_EXTENT = 4.0  # in sizes of the input: boxes that reach further are read in a wrong unit


@dataclass(frozen=True)
class DetectionFunnel:
    """Numbers of candidates that each step leaves, over one or several images; funnels can be added.

    Attributes:
        images: number of images.
        empty_images: number of images without a box.
        candidates: number of boxes that the network gave.
        confident: number of those whose score for the selected classes reaches the threshold.
        other_classes: number of the rest whose score for another class reaches it.
        small: number of confident boxes that are smaller than a pixel inside the image.
        overlapping: number of confident boxes that overlap one with a higher score.
        boxes: number of boxes that are left.
        top_score: highest score for the selected classes.
    """

    images: int = 0
    empty_images: int = 0
    candidates: int = 0
    confident: int = 0
    other_classes: int = 0
    small: int = 0
    overlapping: int = 0
    boxes: int = 0
    top_score: float = 0.0

    def __add__(self, other: DetectionFunnel) -> DetectionFunnel:
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return DetectionFunnel(**{**counts, 'top_score': max(self.top_score, other.top_score)})

    def describe(self, threshold: float, classes_text: str) -> str:
        """Describe the funnel in words.

        Args:
            threshold: of the scores.
            classes_text: the selected classes.
        """
        large = self.confident - self.small
        steps = (
            f'Candidates: {self.candidates:,}',
            f'scoring at least {threshold:g} as {classes_text}: {self.confident:,} (highest: {self.top_score:.2f})',
            f'as another class: {self.other_classes:,}',
            f'larger than a pixel: {large:,}',
            f'not overlapping a better one: {self.boxes:,}',
        )
        return f'boxes: {self.boxes:,} in {self.images:,} images ({self.empty_images:,} without). {"; ".join(steps)}'


def check_candidates(candidates: Candidates, threshold: float, input_size: Size) -> None:
    """Refuse candidates that were most likely read by the rule of another detector.

    Args:
        candidates: of one image.
        threshold: boxes of a lower score are not judged, whatever their class.
        input_size: (width, height) of the input in px.

    Raises:
        CheckpointError: a value is not finite, a score not between 0 and 1, or a box of a high score is implausible.
    """
    boxes, class_scores = candidates.boxes, candidates.class_scores
    best_scores = class_scores.max(axis=1, initial=0.0)
    low, high = float(class_scores.min(initial=0.0)), float(best_scores.max(initial=0.0))  # NaN if a score is NaN
    if not np.isfinite([low, high]).all() or not np.isfinite(boxes).all():
        raise CheckpointError('some of its boxes or scores are no finite numbers')
    if low < -_SCORE_TOLERANCE or high > 1 + _SCORE_TOLERANCE:
        raise CheckpointError(f'its scores are from {low:.3g} to {high:.3g}, but scores are from 0 to 1')
    # a network's weak candidates may be anything; those that would be used have to make sense
    judged = boxes[(best_scores >= threshold) & (best_scores > 0)]
    if not len(judged):
        return
    broken = int((judged[:, 2:] < judged[:, :2]).any(axis=1).sum())
    if broken:
        raise CheckpointError(
            f'{broken} of its {len(judged)} boxes end before they begin, such as {_format_box(judged)}: they are no '
            f'two corners'
        )
    if np.abs(judged).max() <= _MAX_RELATIVE_COORDINATE and min(input_size) >= _MIN_INPUT_SIZE_PX:
        raise CheckpointError(
            f'its {len(judged)} boxes, such as {_format_box(judged)}, lie within {_MAX_RELATIVE_COORDINATE:g} px of '
            f"the input's corner: they are relative to the input, not in px"
        )
    if np.abs(judged).max() > _MAX_EXTENT * max(input_size):
        width, height = input_size
        raise CheckpointError(
            f'its boxes, such as {_format_box(judged)}, reach far beyond the input of {width} x {height} px'
        )


def _format_box(boxes: np.ndarray) -> str:
    """The box whose values are largest, as text."""
    return ', '.join(f'{value:.4g}' for value in boxes[np.abs(boxes).max(axis=1).argmax()])


def select_detections(
    candidates: Candidates,
    classes: Sequence[int],
    threshold: float,
    nms_threshold: float | None,
    placement: tuple[np.ndarray, Size],
) -> tuple[DetectedBoxes, DetectionFunnel]:
    """Select the boxes of some classes, in px of the image.

    Args:
        candidates: of one image.
        classes: indices of the classes; a box has the score of its best one.
        threshold: boxes with a lower score are dropped.
        nms_threshold: of two boxes with a larger IoU the one with the lower score is dropped; None drops none.
        placement: the matrix (3, 3) from image to input, and the image's (width, height).

    Returns:
        The boxes, the highest score first, and the funnel.
    """
    image_to_input, image_size = placement
    class_scores = candidates.class_scores
    known = [index for index in classes if index < class_scores.shape[1]]  # labels may not reach the index
    scores = class_scores[:, known].max(axis=1, initial=0.0)
    # A class that an image lacks has a score of exactly 0 where a network gives labels: 0 is no detection.
    confident = (scores >= threshold) & (scores > 0)
    best_scores = class_scores.max(axis=1, initial=0.0)
    others = ~confident & (best_scores >= threshold) & (best_scores > 0)
    # From px of the input to px of the image. No family rotates, so that two corners stay the corners.
    corners = transform_points(np.linalg.inv(image_to_input), candidates.boxes.reshape(-1, 2, 2))
    boxes = clip_boxes(corners.reshape(-1, 4), np.array([image_size]))
    # after clipping, since a box that leaves the image may have little of it inside
    is_large = (boxes[:, 2:] - boxes[:, :2] >= _MIN_BOX_SIZE_PX).all(axis=1)
    indices = np.flatnonzero(confident & is_large)
    if nms_threshold is None:
        selected = indices[np.argsort(-scores[indices], kind='stable')]
    else:
        selected = indices[nms(boxes[indices], scores[indices], nms_threshold)]
    funnel = DetectionFunnel(
        images=1,
        empty_images=int(len(selected) == 0),
        candidates=len(boxes),
        confident=int(confident.sum()),
        other_classes=int(others.sum()),
        small=int((confident & ~is_large).sum()),
        overlapping=len(indices) - len(selected),
        boxes=len(selected),
        top_score=float(scores.max(initial=0.0)),
    )
    return DetectedBoxes(boxes[selected], scores[selected]), funnel
