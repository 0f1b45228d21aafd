"""The trackers of the package `trackers` (ByteTrack, OC-SORT, SORT) behind the interface of trackers."""

from __future__ import annotations

__all__ = ['PackageTracker']

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from poseplug.core.boxes import enclose_keypoints
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.tracking import Tracker
from poseplug.registry import TRACKERS

_CLASS_NAMES = {'bytetrack': 'ByteTrackTracker', 'ocsort': 'OCSORTTracker', 'sort': 'SORTTracker'}
_LOST_S = 3.0  # for which an unseen instance is remembered, as by `SimilarityTracker`
_BUFFER_FRAMES_PER_SECOND = 30  # the package counts its memory in frames of this rate, and scales it by timestamps


@TRACKERS.register_module()
class PackageTracker(Tracker):
    """Tracks boxes by the package `trackers` (extra `tracking`), with the times of the frames.

    Ids are numbered from 1 in the order in which they appear. The package gives an id to an instance that it meets in
    two frames in a row; before that the instance is dropped. All count alike, whatever they score.

    Args:
        method: 'bytetrack', 'ocsort' or 'sort'.
        use_scores: whether the package gets the scores of the instances, for its thresholds of confidence.
        **settings: of the package's class, such as `minimum_iou_threshold=0.3`.

    Raises:
        ConfigError: the package is not installed, or has no such method or setting.

    Example:
        >>> tracker = dict(type='PackageTracker', method='ocsort')
    """

    def __init__(self, method: str = 'bytetrack', use_scores: bool = False, **settings: Any):
        if method not in _CLASS_NAMES:
            raise ConfigError(f'PackageTracker: method is one of {", ".join(_CLASS_NAMES)}; got {method!r}')
        self.use_scores = use_scores
        self._supervision, trackers = _import_package('supervision'), _import_package('trackers')
        lost_buffer = round(_LOST_S * _BUFFER_FRAMES_PER_SECOND)
        settings = {'lost_track_buffer': lost_buffer, 'minimum_consecutive_frames': 1, **settings}
        try:
            self._tracker: Any = getattr(trackers, _CLASS_NAMES[method])(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f'PackageTracker: the package refuses the settings of {method}: {error}') from None
        self._id_of_package_id: dict[int, int] = {}

    def __call__(self, poses: Poses, seconds: float) -> Poses:
        """Assign ids to the instances of the next frame; see `Tracker`."""
        poses = poses.numpy()
        if poses.boxes is None:
            boxes = enclose_keypoints(np.asarray(poses.keypoints, float), np.ones(poses.keypoint_scores.shape, bool))
        else:
            boxes = np.asarray(poses.boxes, float)
        scores = np.asarray(poses.instance_scores, np.float32) if self.use_scores else None
        # the package reorders and drops detections; this says which instance each one was
        positions = {'position': np.arange(len(poses))}
        detections = self._supervision.Detections(xyxy=boxes.astype(np.float32), confidence=scores, data=positions)
        tracked = self._tracker.update(detections, timestamp=seconds)
        package_ids = np.asarray(tracked.tracker_id if len(tracked) else [], int)
        # -1 marks an instance that was met for the first time
        has_id = package_ids >= 0
        order = np.asarray(tracked.data['position'], int)[has_id] if len(tracked) else np.zeros(0, int)
        ids = [self._number_id(int(package_id)) for package_id in package_ids[has_id]]
        sorting = np.argsort(order)  # as the instances were given
        return replace(poses[order[sorting]], ids=np.array(ids, int)[sorting])

    def _number_id(self, package_id: int) -> int:
        """The id, from 1, of an id of the package."""
        return self._id_of_package_id.setdefault(package_id, len(self._id_of_package_id) + 1)


def _import_package(name: str) -> Any:
    """Import a package of the extra `tracking`."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'PackageTracker needs the package {name}, which cannot be imported ({error}); '
            f"pip install 'poseplug[tracking]'"
        ) from None
