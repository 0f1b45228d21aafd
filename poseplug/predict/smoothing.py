"""Keypoint smoothing over time by the one-euro filter (Casiez, Roussel, Vogel 2012, doi:10.1145/2207676.2208639)."""

from __future__ import annotations

__all__ = ['OneEuroFilter', 'OneEuroSmoother', 'Smoother', 'smoothing_factor']

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict.tracking import InstanceGeometry
from poseplug.registry import SMOOTHERS

_MAX_FILTER_AGE_S = 10.0  # an id that was not seen for so long does not return: its filter is dropped
_MIN_SIZE_PX = 1.0  # of an instance, so that a degenerate box does not divide by zero


def smoothing_factor(cutoff_hz: np.ndarray | float, elapsed_s: np.ndarray) -> np.ndarray:
    """Weight of a new value in a low-pass filter: 1 / (1 + tau / Te) with tau = 1 / (2 pi cutoff).

    Args:
        cutoff_hz: cutoff frequency in Hz, one for all or one for each value.
        elapsed_s: seconds since the last value (the paper's Te).

    Returns:
        Weights between 0 and 1, of the arguments' common shape.

    Example:
        >>> round(float(smoothing_factor(1.0, np.array(1 / (2 * np.pi)))), 6)
        0.5
    """
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * elapsed_s))


class OneEuroFilter:
    """Low-pass filters the keypoints of one instance, the faster a keypoint moves the less.

    The cutoff frequency is min_cutoff + beta * |speed|. The speed is the norm of both axes' derivatives in instance
    sizes per second, itself low-passed at `d_cutoff`, so that the same settings suit every resolution, distance and
    frame rate.

    Args:
        num_keypoints: number of keypoints K.
        min_cutoff: cutoff frequency at rest, in Hz.
        beta: increase of the cutoff frequency with the speed, in Hz per size per second.
        d_cutoff: cutoff frequency of the speed, in Hz.
    """

    def __init__(self, num_keypoints: int, min_cutoff: float, beta: float, d_cutoff: float):
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.raw, self.smoothed = np.zeros((num_keypoints, 2)), np.zeros((num_keypoints, 2))  # px
        self.speed = np.zeros((num_keypoints, 2))  # sizes per second
        self.last_seconds = np.full(num_keypoints, -np.inf)  # -inf: not visible so far

    def __call__(self, points: np.ndarray, visible: np.ndarray, seconds: float, size_px: float) -> np.ndarray:
        """Filter the keypoints of the next frame.

        Args:
            points: (K, 2) px.
            visible: (K,) bool; the others are returned unchanged and do not update the filter.
            seconds: time of the frame.
            size_px: size of the instance, the square root of its area.

        Returns:
            (K, 2) px.
        """
        is_new = visible & np.isinf(self.last_seconds)
        is_known = visible & np.isfinite(self.last_seconds)
        elapsed_s = (seconds - self.last_seconds[is_known])[:, None]
        speed = self.speed[is_known]
        # from raw to raw position, as in the authors' code
        raw_speed = (points[is_known] - self.raw[is_known]) / (elapsed_s * size_px)
        speed += smoothing_factor(self.d_cutoff, elapsed_s) * (raw_speed - speed)
        # one cutoff for both axes, so that a straight motion stays straight
        cutoff = self.min_cutoff + self.beta * np.linalg.norm(speed, axis=1, keepdims=True)
        previous = self.smoothed[is_known]
        self.speed[is_known] = speed
        self.smoothed[is_known] = previous + smoothing_factor(cutoff, elapsed_s) * (points[is_known] - previous)
        self.smoothed[is_new] = points[is_new]
        self.raw[visible], self.last_seconds[visible] = points[visible], seconds
        return np.where(visible[:, None], self.smoothed, points)


class Smoother(ABC):
    """Smooths the keypoints of a video, frame by frame: the interface of smoothers.

    A smoother is registered in `SMOOTHERS` and built anew for every video.
    """

    @abstractmethod
    def __call__(self, poses: Poses, seconds: float) -> Poses:
        """Smooth the instances of the next frame.

        Args:
            poses: of the frame, in px, with ids.
            seconds: time of the frame, later than that of the frame before.

        Returns:
            The poses as NumPy arrays, with smoothed keypoints.

        Raises:
            ConfigError: the poses have no ids.
        """


@SMOOTHERS.register_module()
class OneEuroSmoother(Smoother):
    """Smooths the keypoints of a video frame by frame, with one one-euro filter per instance id.

    With the default settings, noise of 1 % of the instance size at 30 frames a second falls to 1 / 5.6 from frame to
    frame at rest, and a keypoint that moves one size per second lags 27 ms (docs/lab/prediction.md).

    Args:
        min_cutoff: cutoff frequency at rest, in Hz; lower values smooth more.
        beta: increase of the cutoff frequency, in Hz per instance size per second; higher values lag less.
        d_cutoff: cutoff frequency of the speed, in Hz.
        threshold: keypoints with a lower score stay as they are and do not update the filter.

    Raises:
        ConfigError: a setting is out of its range.

    Example:
        >>> smooth = OneEuroSmoother(beta=2)
        >>> poses = Poses(np.zeros((1, 14, 2)), np.ones((1, 14)), np.ones(1), ids=np.array([1]))
        >>> smooth(poses, seconds=0.0).keypoints.shape
        (1, 14, 2)
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 5.0, d_cutoff: float = 1.0, threshold: float = 0.05):
        if not (min_cutoff > 0 and beta >= 0 and d_cutoff > 0):
            settings = f'min_cutoff={min_cutoff}, beta={beta}, d_cutoff={d_cutoff}'
            raise ConfigError(f'{settings}: cutoffs are positive frequencies in Hz, and beta is not negative')
        self.min_cutoff, self.beta, self.d_cutoff, self.threshold = min_cutoff, beta, d_cutoff, threshold
        self.filters: dict[int, OneEuroFilter] = {}

    def __call__(self, poses: Poses, seconds: float) -> Poses:
        """Smooth the instances of the next frame; see `Smoother`."""
        if poses.ids is None:
            raise ConfigError('only instances with ids can be smoothed; assign them by a tracker first')
        poses = poses.numpy()
        instances = InstanceGeometry.from_poses(poses, self.threshold)
        points = np.array(poses.keypoints, dtype=np.float32)
        self._drop_old_filters(seconds)
        for n, instance_id in enumerate(np.asarray(poses.ids).tolist()):
            if instance_id not in self.filters:
                self.filters[instance_id] = OneEuroFilter(points.shape[1], self.min_cutoff, self.beta, self.d_cutoff)
            size_px = max(float(np.sqrt(instances.areas[n])), _MIN_SIZE_PX)
            smooth = self.filters[instance_id]
            # in double precision: differences of two frames are small beside the positions
            points[n] = smooth(points[n].astype(float), instances.visible[n], seconds, size_px)
        return replace(poses, keypoints=points)

    def _drop_old_filters(self, seconds: float) -> None:
        self.filters = {
            instance_id: one_euro
            for instance_id, one_euro in self.filters.items()
            if seconds - one_euro.last_seconds.max() <= _MAX_FILTER_AGE_S
        }
