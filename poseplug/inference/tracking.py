"""Who is who from frame to frame: people are matched by their likeness to where those known were heading."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from poseplug.errors import VideoError
from poseplug.grouping.nms import box_areas, box_iou
from poseplug.grouping.oks import oks
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton

WIDER = 0.1  # share of its longer side by which a hull of joints is widened at every side
SLIMMEST = 0.25  # least area of a person as a share of the square of the longer side: people seen from the side
SPEED = 1.0  # sizes (roots of areas) a second: how far people may be from where they are expected
HEADING = 0.5  # seconds after which most of a known speed is forgotten
STEADY = 0.1  # seconds over which a speed is averaged
LOST = 0.5  # seconds in which the claim of somebody who is not seen falls to a third


@dataclass(frozen=True)
class Bodies:
    """N people as they are compared: joints (N, K, 2) px, which of them count (N, K), boxes (N, 4), areas (N,) px²."""

    keypoints: np.ndarray
    seen: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray

    @classmethod
    def of(cls, people: Poses, threshold: float) -> Bodies:
        """NumPy people; joints that score under `threshold` do not count. Without boxes, those of the joints' hulls."""
        keypoints = np.asarray(people.keypoints, dtype=float)
        seen = (np.asarray(people.scores) >= threshold) & np.isfinite(keypoints).all(axis=-1)
        keypoints = np.where(seen[..., None], keypoints, 0)
        boxes = hulls(keypoints, seen) if people.boxes is None else np.asarray(people.boxes, dtype=float)
        longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        return cls(
            np.where(seen[..., None], keypoints, 0), seen, boxes, np.maximum(box_areas(boxes), SLIMMEST * longer**2)
        )

    def __len__(self) -> int:
        return len(self.areas)

    def __getitem__(self, which: Any) -> Bodies:
        """The people at some places."""
        return Bodies(self.keypoints[which], self.seen[which], self.boxes[which], self.areas[which])

    def moved(self, shifts: np.ndarray) -> Bodies:
        """Everybody shifted by their own (N, 2) px."""
        return replace(self, keypoints=self.keypoints + shifts[:, None], boxes=self.boxes + np.tile(shifts, 2))

    def widened(self, margins: np.ndarray) -> np.ndarray:
        """The boxes (N, 4) with margins () or (N,) px at every side."""
        return self.boxes + margins[..., None] * np.array([-1, -1, 1, 1])


def hulls(keypoints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N, 4) boxes around the joints (N, K, 2) that are seen (N, K), a tenth wider; at 0 where none is."""
    far = np.where(seen[..., None], 0, np.inf)
    low, high = (keypoints + far).min(axis=1), (keypoints - far).max(axis=1)
    margin = WIDER * (high - low).max(axis=1, keepdims=True)
    boxes = np.concatenate([low - margin, high + margin], axis=1)
    return np.where(seen.any(axis=1, keepdims=True), boxes, 0)


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, M) the mean of IoU and the share of the smaller box that is common: who is half hidden has a smaller one.

    Boxes (N, 4) and (M, 4) as two corners; 0 without an extent.
    """
    iou, smaller = box_iou(one, other), np.minimum(box_areas(one)[:, None], box_areas(other)[None])
    common = iou / (1 + iou) * (box_areas(one)[:, None] + box_areas(other)[None])
    return (iou + common / np.where(smaller > 0, smaller, 1)) / 2


@dataclass(frozen=True, eq=False)
class Known:
    """Somebody who has an id: as last seen (a `Bodies` of one), when, and their speed (2,) px/s, 0 at first."""

    id: int
    body: Bodies
    seconds: float
    velocity: np.ndarray
    sightings: int = 1

    def shift(self, seconds: float) -> np.ndarray:
        """(2,) px from where they were seen to where they are expected: they go on for a while, then stay."""
        return self.velocity * HEADING * (1 - math.exp((self.seconds - seconds) / HEADING))

    def again(self, body: Bodies, seconds: float) -> Known:
        """The same person, seen anew."""
        both = (self.body.seen & body.seen)[0]
        if both.any():
            way = (body.keypoints - self.body.keypoints)[0, both].mean(axis=0)
        else:
            way = (body.boxes - self.body.boxes)[0].reshape(2, 2).mean(axis=0)
        passed = seconds - self.seconds
        share = passed / (passed + STEADY) if self.sightings > 1 else 1.0
        velocity = self.velocity + share * (way / passed - self.velocity)
        return Known(self.id, body, seconds, velocity, self.sightings + 1)


class Tracker:
    """Gives the people of one frame after the other their ids: whole numbers from 1, none used twice.

    Everybody known is expected where they were heading. People are assigned so that the likenesses of all pairs sum to
    the most, where who is lost counts the less, the longer. Likeness is the mean of OKS and the boxes' overlap, or the
    overlap alone for a skeleton without OKS constants; both are the looser, the more time has passed. Times count, not
    frames.

    Args:
        skeleton: of the people.
        max_age: seconds for which somebody is remembered who is not seen.
        least: likeness of two sightings of one person.
        threshold: joints that score less do not count.
    """

    def __init__(self, skeleton: Skeleton, max_age: float = 1.0, least: float = 0.2, threshold: float = 0.05):
        self.max_age, self.least, self.threshold = max_age, least, threshold
        self.sigmas = None if skeleton.sigmas is None else torch.tensor(skeleton.sigmas, dtype=torch.float32)
        self.known: list[Known] = []
        self.last, self.given = -math.inf, 0

    def __call__(self, people: Poses, seconds: float) -> Poses:
        """The people of the next frame, at its time, with `ids` (N,).

        Raises:
            VideoError: the frame is not later than the one before.
        """
        if not seconds > self.last:
            raise VideoError(
                f'a frame at {seconds:g} s came behind one at {self.last:g} s; give the frames of a video in order, '
                f'and every video a Tracker of its own'
            )
        people = people.numpy()
        bodies = Bodies.of(people, self.threshold)
        ids = np.zeros(len(people), dtype=int)
        self.known = [k for k in self.known if seconds - k.seconds <= self.max_age]
        if self.known and len(ids):
            self._recognise(bodies, ids, seconds)
        self._welcome(bodies, ids, seconds)
        self.last = seconds
        return replace(people, ids=ids)

    def _recognise(self, bodies: Bodies, ids: np.ndarray, seconds: float) -> None:
        """Give the ids of those known to the people who are most like them, in place."""
        from scipy.optimize import linear_sum_assignment  # it is slow to import, and not wanted before

        alike = self.likeness(bodies, seconds)
        late = np.array([self.last - k.seconds for k in self.known])
        worth = np.where(alike >= self.least, alike * np.exp(-late / LOST)[:, None], 0)
        for row, place in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            if worth[row, place] > 0:
                ids[place] = self.known[row].id
                self.known[row] = self.known[row].again(bodies[[place]], seconds)

    def _welcome(self, bodies: Bodies, ids: np.ndarray, seconds: float) -> None:
        """Give a new id to everybody who has none, from left to right, in place."""
        new = np.flatnonzero(ids == 0)
        for place in new[np.lexsort(bodies.boxes[new, 1::-1].T)]:
            self.given += 1
            ids[place] = self.given
            self.known.append(Known(self.given, bodies[[place]], seconds, np.zeros(2)))

    def likeness(self, bodies: Bodies, seconds: float) -> np.ndarray:
        """(T, N) how alike those known and the people of a frame are, from 0 to 1."""
        parts = zip(*(vars(k.body).values() for k in self.known), strict=True)
        expected = Bodies(*map(np.concatenate, parts)).moved(np.stack([k.shift(seconds) for k in self.known]))
        loose = SPEED * np.array([seconds - k.seconds for k in self.known])  # (T,) in sizes
        margins = loose * np.sqrt(expected.areas) / 2
        wide = expected.widened(margins)
        boxes = np.concatenate([overlaps(wide[[t]], bodies.widened(margin)) for t, margin in enumerate(margins)])
        return boxes if self.sigmas is None else (boxes + self._oks(expected, bodies, loose)) / 2

    def _oks(self, expected: Bodies, bodies: Bodies, loose: np.ndarray) -> np.ndarray:
        """(T, N) OKS by the mean of both areas; its spread grows by what somebody may have moved (T,), in sizes."""
        assert self.sigmas is not None
        growth = 1 + (loose / (2 * float(self.sigmas.mean()))) ** 2
        areas = (expected.areas[:, None] + bodies.areas[None]) / 2 * growth[:, None]
        points, others = (torch.from_numpy(b.keypoints).float() for b in (expected, bodies))
        seen, counts = torch.from_numpy(expected.seen), torch.from_numpy(bodies.seen)
        return oks(points, others, torch.from_numpy(areas).float(), self.sigmas, seen, counts).numpy()
