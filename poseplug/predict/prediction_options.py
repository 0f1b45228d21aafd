"""Options for predicting and drawing images and videos."""

from __future__ import annotations

__all__ = ['PredictionOptions']

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poseplug.core.boxes import BoxFormat
from poseplug.core.setting_checks import check_counts, check_probabilities


@dataclass(frozen=True)
class PredictionOptions:
    """Options for predicting and drawing images and videos.

    Attributes:
        frame_interval: one of every so many frames of a video is predicted.
        tracker: config of the tracker, `dict(type=..., **settings)`.
        smoother: config of the smoother, `dict(type=..., **settings)`; None for no smoothing.
        draw_video: write a video with the drawn poses.
        save_csv: write a table of all keypoints.
        formats: names of further forms that the results are written in; see `RESULT_FORMATS`.
        threshold: keypoints with a lower score are not drawn.
        detector_interval: a detector runs on one of every so many predicted frames; in between, boxes follow the poses.
        batch_size: instances that go through the network at once.
        box_format: 'xywh' or 'xyxy', of boxes that are given.
    """

    frame_interval: int = 1
    tracker: Mapping[str, Any] = field(default_factory=lambda: {'type': 'SimilarityTracker'})
    smoother: Mapping[str, Any] | None = None
    draw_video: bool = True
    save_csv: bool = False
    formats: tuple[str, ...] = ()
    threshold: float = 0.05
    detector_interval: int = 1
    batch_size: int = 32
    box_format: BoxFormat = 'xywh'

    def __post_init__(self) -> None:
        check_counts('PredictionOptions', frame_interval=self.frame_interval, batch_size=self.batch_size)
        check_probabilities('PredictionOptions', threshold=self.threshold)

    def describe(self, detector: object) -> dict[str, Any]:
        """Return the options that change the results, for the header of result files.

        Args:
            detector: of the predictor; None for none.
        """
        return {
            'frame_interval': self.frame_interval,
            'tracker': dict(self.tracker),
            'smoother': None if self.smoother is None else dict(self.smoother),
            'box_format': self.box_format,
            'detector': None if detector is None else str(getattr(detector, 'description', type(detector).__name__)),
            'detector_interval': self.detector_interval,
        }
