"""What flows: `Record` from a source, `Sample` through the transforms, `Batch` to the estimator.

Visibility is 0 not labelled (its position means nothing), 1 labelled but occluded, 2 visible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from poseplug.datasets.canvas import Canvas
from poseplug.datasets.images import Picture, Place, Span
from poseplug.errors import ConfigError
from poseplug.geometry import Size, apply, enlargement
from poseplug.skeleton import Skeleton


class Draw(NamedTuple):
    """One sample of one epoch: the key of its random numbers."""

    epoch: int
    sample: int


AREA_OF_BOX = 0.53  # a person's share of their box, where a data set gives no area (COCO's average)
OF_PEOPLE = (
    'keypoints',
    'visible',
    'boxes',
    'areas',
    'centers',
    'scales',
    'heads',
    'numbers',
    'box_scores',
    'outlines',
)


@dataclass(frozen=True)
class Record:
    """The annotated people of one picture, in image pixels counted from 0.

    `keypoints` (N, K, 2), `visible` (N, K), `boxes` (N, 4) as x, y of two corners, `areas` (N,) px².
    Where the data set has them: `centers` (N, 2), `scales` (N,; person height / 200 px, MPII's unit), `heads` (N,; head
    size in px, for PCKh), `numbers` (N,) of the annotations, `ignore` (M, 4) boxes of regions that count neither way,
    with `ignore_areas` (M,) px² and `ignore_crowds` (M,) which of them are several people (without: the boxes' areas,
    and all), `crowd_index` of the picture. `outlines` (N,) and `ignore_outlines` (M,) are the shapes of people and of
    ignored regions (`poseplug.datasets.outlines`; None where one has none). `defined` (K,) says which joints the data
    set annotates at all (without: all). People that a detector found carry `box_scores` (N,) and no joints; `truth` is
    then the annotated record of their picture. A picture that is a part of its file lies in its `span`.
    """

    path: Path
    id: str
    keypoints: np.ndarray
    visible: np.ndarray
    source: str = ''
    boxes: np.ndarray | None = None
    areas: np.ndarray | None = None
    centers: np.ndarray | None = None
    scales: np.ndarray | None = None
    heads: np.ndarray | None = None
    numbers: np.ndarray | None = None
    box_scores: np.ndarray | None = None
    ignore: np.ndarray | None = None
    ignore_areas: np.ndarray | None = None
    ignore_crowds: np.ndarray | None = None
    crowd_index: float | None = None
    outlines: np.ndarray | None = None
    ignore_outlines: np.ndarray | None = None
    defined: np.ndarray | None = None
    truth: Record | None = None
    span: Span | None = None

    @property
    def place(self) -> Place:
        """Where the picture lies."""
        return Place(self.path, self.span)

    def whereabouts(self) -> np.ndarray:
        """(N, 4) the annotated boxes, or those around the labelled joints; zeros where there are none."""
        if self.boxes is not None:
            return self.boxes
        labelled = (self.visible > 0)[..., None]
        low = np.where(labelled, self.keypoints, np.inf).min(axis=1)
        high = np.where(labelled, self.keypoints, -np.inf).max(axis=1)
        return np.where(labelled.any(axis=1), np.concatenate([low, high], axis=1), 0.0)

    def led_by(self, person: int) -> Record:
        """The same picture with one person first: the subject of a top-down sample."""
        order = [person, *(i for i in range(len(self.keypoints)) if i != person)]
        return replace(self, **{n: getattr(self, n)[order] for n in OF_PEOPLE if getattr(self, n) is not None})

    def mapped_to(self, own: Skeleton, wanted: Skeleton) -> Record:
        """The same people with the joints of another skeleton, by name; joints that this one lacks are unlabelled.

        Unless that skeleton derives them from others.
        """
        keypoints, visible = wanted.of(own, self.keypoints, self.visible)
        defined = wanted.defined(own)
        truth = self.truth and self.truth.mapped_to(own, wanted)
        known = None if defined.all() else defined
        return replace(self, keypoints=keypoints, visible=visible, defined=known, truth=truth)


@dataclass
class Sample:
    """One picture on its way to the network; person 0 is the subject of a top-down sample.

    `matrix` (3, 3) takes image pixels to input pixels; `views` are further matrices of the same picture, for fusion
    at test time. `image` is (H, W, 3), BGR, 0 to 255, a `Picture` that is decoded when its pixels are asked for, or a
    `Canvas` of several, whose people the record then tells; it becomes `inputs` (V, H, W, 3) in the one warp at the
    end. Inputs of another size than the model's have `extents`: (width, height) of every view, which what is beyond
    them in `inputs` only fills up, with the colour `fill`. `mask` (H, W) uint8 is 0 where the input's cells count
    neither way. `another` gives a further sample of the data set, before its transforms, drawn by a generator.
    """

    record: Record
    skeleton: Skeleton
    image: np.ndarray | Picture | Canvas
    rng: np.random.Generator
    draw: Draw
    keypoints: np.ndarray
    visible: np.ndarray
    matrix: np.ndarray = field(default_factory=lambda: np.eye(3))
    views: list[np.ndarray] = field(default_factory=list)
    inputs: np.ndarray | None = None
    extents: list[Size] = field(default_factory=list)
    fill: tuple[int, ...] = (128, 128, 128)
    mask: np.ndarray | None = None
    another: Callable[[np.random.Generator], Sample] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return (self.image.shape[1], self.image.shape[0]) if isinstance(self.image, np.ndarray) else self.image.size

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) the whole picture, BGR, 0 to 255."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.pixels()


@dataclass
class Batch:
    """Stacked tensors of B samples; people are padded to the largest number N, `people` says who is real.

    `images` (B, V, H, W, 3) uint8; `keypoints` (B, N, K, 2) in input pixels of the first view; `visible` (B, N, K);
    `people` (B, N); `centers` (B, 2) the subject's position in input pixels; `matrices` (B, V, 3, 3) float64, from
    image to input pixels; `sizes` (width, height) and `records` of the pictures. Where inputs are not of one size,
    `extents` are the (width, height) of every view within `images`. `masks` (B, H, W) uint8 are 0 where the first view
    counts neither way, and `defined` (B, K) says which joints the data sets annotate; None: everything and all.
    `boxes` (B, N, 4), x, y of two corners, and `areas` (B, N) px² are people's in the first view.
    """

    images: Tensor
    keypoints: Tensor
    visible: Tensor
    people: Tensor
    centers: Tensor
    matrices: Tensor
    sizes: list[tuple[int, int]]
    records: list[Record]
    draws: list[Draw]
    extents: list[Size] = field(default_factory=list)
    masks: Tensor | None = None
    defined: Tensor | None = None
    boxes: Tensor | None = None
    areas: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on a device."""
        return self._each(lambda t: t.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._each(lambda t: t.pin_memory())

    def _each(self, move: Any) -> Batch:
        return replace(self, **{n: move(v) for n, v in vars(self).items() if isinstance(v, Tensor)})


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples. Inputs with `extents` are filled up to the largest, at the right and below."""
    if any(s.inputs is None for s in samples):
        raise ConfigError('a sample has no inputs: its pipeline lacks the transform Warp, which cuts them out')
    most = max(len(s.keypoints) for s in samples)
    keypoints = torch.zeros(len(samples), most, len(samples[0].skeleton), 2)
    visible = torch.zeros(keypoints.shape[:3], dtype=torch.uint8)
    people = torch.zeros(keypoints.shape[:2], dtype=torch.bool)
    boxes, areas = torch.zeros(len(samples), most, 4), torch.zeros(len(samples), most)
    for i, s in enumerate(samples):
        n = len(s.keypoints)
        keypoints[i, :n] = torch.from_numpy(apply(s.matrix, s.keypoints).astype(np.float32))
        visible[i, :n] = torch.from_numpy(s.visible.astype(np.uint8))
        people[i, :n] = True
        boxes[i, :n], areas[i, :n] = map(torch.from_numpy, extents_of(s))
    images = stacked([s.inputs for s in samples if s.inputs is not None], [s.fill for s in samples])
    return Batch(
        images=torch.from_numpy(images),
        keypoints=keypoints,
        visible=visible,
        people=people,
        centers=torch.from_numpy(np.stack([subject_center(s) for s in samples])),
        matrices=torch.from_numpy(np.stack([[s.matrix, *s.views] for s in samples])),
        sizes=[s.size for s in samples],
        records=[s.record for s in samples],
        draws=[s.draw for s in samples],
        extents=largest([s.extents for s in samples]),
        masks=masks_of(samples, images.shape[2:4]),
        defined=defined_of(samples),
        boxes=boxes,
        areas=areas,
    )


def extents_of(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """People's boxes (N, 4) and areas (N,) in input pixels; a turned box as the hull of its corners."""
    areas = areas_of(sample.record) * enlargement(sample.matrix) ** 2
    return hulls(sample.matrix, sample.record.whereabouts()).astype(np.float32), areas.astype(np.float32)


def areas_of(record: Record) -> np.ndarray:
    """(N,) px² of a record's people: the annotated ones, or a share of their boxes."""
    boxes = np.asarray(record.whereabouts(), dtype=float)
    shares = AREA_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    return shares if record.areas is None else np.where(record.areas > 0, record.areas, shares)


def hulls(matrix: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, 4) boxes through a matrix (3, 3), as the hulls of their corners."""
    corners = apply(matrix, np.asarray(boxes, dtype=float)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def stacked(inputs: Sequence[np.ndarray], fills: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Arrays (V, H, W, 3) as one (B, V, H, W, 3), each filled up with its colour where it is smaller than another."""
    if len({a.shape for a in inputs}) == 1:
        return np.stack(inputs)
    height, width = (max(a.shape[axis] for a in inputs) for axis in (1, 2))
    together = np.empty((len(inputs), len(inputs[0]), height, width, 3), np.uint8)
    for place, own, fill in zip(together, inputs, fills, strict=True):
        place[...] = fill
        place[:, : own.shape[1], : own.shape[2]] = own
    return together


def largest(extents: Sequence[Sequence[Size]]) -> list[Size]:
    """For every view the (width, height) that holds it in all samples."""
    return [(max(w for w, _ in view), max(h for _, h in view)) for view in zip(*extents, strict=True)]


def masks_of(samples: Sequence[Sample], size: tuple[int, ...]) -> Tensor | None:
    """(B, H, W) of samples with a mask, 1 in what was filled up; None where nobody has one."""
    if all(s.mask is None for s in samples):
        return None
    masks = torch.ones(len(samples), *size, dtype=torch.uint8)
    for own, s in zip(masks, samples, strict=True):
        if s.mask is not None:
            own[: s.mask.shape[0], : s.mask.shape[1]] = torch.from_numpy(s.mask)
    return masks


def defined_of(samples: Sequence[Sample]) -> Tensor | None:
    """(B, K) which joints the data sets of samples annotate; None where all do."""
    if all(s.record.defined is None for s in samples):
        return None
    every = np.ones(len(samples[0].skeleton), dtype=bool)
    return torch.from_numpy(np.stack([every if s.record.defined is None else s.record.defined for s in samples]))


def subject_center(sample: Sample) -> np.ndarray:
    """(2,) float32 where the subject stands in input pixels: its declared centre, or the middle of the picture."""
    centers = sample.record.centers
    where = centers[0] if centers is not None and len(centers) else (np.array(sample.size) - 1) / 2
    return apply(sample.matrix, np.asarray(where, dtype=float)).astype(np.float32)
