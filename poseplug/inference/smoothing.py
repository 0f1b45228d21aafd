"""Joints without jitter: the one-euro filter (Casiez, Roussel, Vogel 2012, doi:10.1145/2207676.2208639)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from poseplug.errors import ConfigError
from poseplug.inference.tracking import Bodies
from poseplug.poses import Poses

FORGET = 10.0  # seconds after which nobody comes back under an id


def share(cutoff: np.ndarray | float, passed: np.ndarray) -> np.ndarray:
    """The share of a new value in a low-pass of `cutoff` Hz, where `passed` seconds went by: 1 / (1 + tau / Te)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * passed))


class OneEuro:
    """One person's joints, each low-passed the less, the faster it moves: cutoff = min_cutoff + beta |speed|.

    The speed is the length of both axes' derivatives in sizes a second, low-passed at `d_cutoff` Hz, so that the same
    settings suit every resolution, distance and frame rate.
    """

    def __init__(self, joints: int, min_cutoff: float, beta: float, d_cutoff: float):
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.raw, self.smooth, self.speed = (np.zeros((joints, 2)) for _ in range(3))  # px, px, sizes a second
        self.seconds = np.full(joints, -np.inf)  # when each was seen last

    def __call__(self, points: np.ndarray, seen: np.ndarray, seconds: float, size: float) -> np.ndarray:
        """Joints (K, 2) px, smoothed where `seen` (K,), the others as they are; `size` in px is the person's."""
        first, again = seen & np.isinf(self.seconds), seen & np.isfinite(self.seconds)
        passed = (seconds - self.seconds[again])[:, None]
        speed = self.speed[again]
        speed += share(self.d_cutoff, passed) * ((points[again] - self.raw[again]) / (passed * size) - speed)
        cutoff = self.min_cutoff + self.beta * np.linalg.norm(speed, axis=1, keepdims=True)
        before = self.smooth[again]
        self.speed[again] = speed
        self.smooth[again] = before + share(cutoff, passed) * (points[again] - before)
        self.smooth[first] = points[first]
        self.raw[seen], self.seconds[seen] = points[seen], seconds
        return np.where(seen[:, None], self.smooth, points)


@dataclass(frozen=True)
class Smoothing:
    """Settings of the filter: Hz for what stands still, Hz for each size a second of speed, and Hz for the speed."""

    min_cutoff: float = 1.0
    beta: float = 5.0
    d_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not (self.min_cutoff > 0 and self.beta >= 0 and self.d_cutoff > 0):
            raise ConfigError(f'{self}: cutoffs are positive frequencies in Hz, and beta is not negative')


class Smoother:
    """Smooths the joints of one frame's people after the other's, everybody's by their `ids`.

    Joints that score under `threshold` are left as they are and teach the filter nothing.
    """

    def __init__(self, settings: Smoothing | None = None, threshold: float = 0.05):
        self.settings, self.threshold = settings or Smoothing(), threshold
        self.filters: dict[int, OneEuro] = {}

    def __call__(self, people: Poses, seconds: float) -> Poses:
        """The people of the next frame, at its time; they need ids, and the times rise."""
        if people.ids is None:
            raise ConfigError('only people with ids can be smoothed; give them theirs by a Tracker first')
        people = people.numpy()
        bodies = Bodies.of(people, self.threshold)
        points = np.array(people.keypoints, dtype=np.float32)
        self.filters = {n: f for n, f in self.filters.items() if seconds - f.seconds.max() <= FORGET}
        for n, own in enumerate(np.asarray(people.ids).tolist()):
            if own not in self.filters:
                s = self.settings
                self.filters[own] = OneEuro(points.shape[1], s.min_cutoff, s.beta, s.d_cutoff)
            size = max(float(np.sqrt(bodies.areas[n])), 1.0)
            points[n] = self.filters[own](points[n].astype(float), bodies.seen[n], seconds, size)
        return replace(people, keypoints=points)
