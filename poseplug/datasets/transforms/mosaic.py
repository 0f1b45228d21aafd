"""Several pictures in one input: mosaics and mixtures (YOLOX, Ge et al. 2021, arXiv:2107.08430)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from poseplug.datasets.canvas import Canvas, Tile
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, apply, enlargement, mirroring, scaling, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample, areas_of, hulls

EDGE = 0.5  # px from the middle of the first pixel to the border of a picture


class Combining(Transform):
    """A transform that takes further samples of the data set, drawn by the sample's own generator."""

    combines: ClassVar[bool] = True

    def other(self, sample: Sample) -> Sample:
        """Another sample, before any transform."""
        if sample.another is None:
            raise ConfigError(f'{type(self).__name__} needs a data set to take further pictures from')
        return sample.another(sample.rng)


@TRANSFORMS.register_module()
class Mosaic(Combining):
    """Four pictures that meet in a point of a canvas twice the input's size, with a chance of `p`; the first in a row.

    The point lies within U(`center`) of the input's width and height from the canvas's corner. Each picture is made to
    fit the input, and lies with one corner on the point. What reaches beyond the canvas is lost. Stands before the
    transform that places the picture, which then places the canvas.
    """

    def __init__(self, input_size: Size, p: float = 1.0, center: tuple[float, float] = (0.5, 1.5)):
        self.input_size, self.p, self.center = input_size, p, center

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() >= self.p:
            return sample
        size = (2 * self.input_size[0], 2 * self.input_size[1])
        x, y = sample.rng.uniform(*self.center, 2) * self.input_size - EDGE
        parts = [sample, *(self.other(sample) for _ in range(3))]
        placed = [self._placed(part, (float(x), float(y)), n) for n, part in enumerate(parts)]
        whole = np.array([-EDGE, -EDGE, size[0] - EDGE, size[1] - EDGE])
        tiles = tuple(Tile(p.image, m, within(frame(p, m), whole)) for p, m in zip(parts, placed, strict=True))
        return joined(sample, parts, tiles, Canvas(size, tiles))

    def _placed(self, part: Sample, point: tuple[float, float], n: int) -> np.ndarray:
        """(3, 3) of the picture left or right of the point (n odd), above or below it (n from 2 on)."""
        factor = min(np.array(self.input_size) / part.size)
        width, height = np.array(part.size) * factor
        left, top = point[0] - (0 if n % 2 else width), point[1] - (0 if n // 2 else height)
        return translation(left, top) @ scaling(factor) @ translation(EDGE, EDGE)


@TRANSFORMS.register_module()
class MixUp(Combining):
    """Another picture shines through with half of the light, with a chance of `p`; the people of both count.

    It is made to fit the input, enlarged by U(`scale`), mirrored in half of the cases, and lies where it falls: within
    the input, or covering it. Stands after everything that places the first picture.
    """

    def __init__(self, input_size: Size, p: float = 1.0, scale: tuple[float, float] = (0.8, 1.6)):
        self.input_size, self.p, self.scale = input_size, p, scale

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() >= self.p:
            return sample
        other, back = self.other(sample), np.linalg.inv(sample.matrix)
        matrix = back @ self._placed(other, sample.rng)
        if np.linalg.det(matrix) < 0:
            other = mirrored(other)
        ground = np.array([-EDGE, -EDGE, sample.size[0] - EDGE, sample.size[1] - EDGE])
        own = sample.image
        canvas = own if isinstance(own, Canvas) else Canvas(sample.size, (Tile(own, np.eye(3), ground),))
        through = Tile(other.image, matrix, frame(other, matrix))
        canvas = replace(canvas, over=(*canvas.over, Canvas(canvas.size, (through,))))
        return joined(sample, [sample, other], [Tile(own, np.eye(3), ground), through], canvas)

    def _placed(self, other: Sample, rng: np.random.Generator) -> np.ndarray:
        """(3, 3) from the other picture's pixels to the input's."""
        factor = float(min(np.array(self.input_size) / other.size) * rng.uniform(*self.scale))
        turn = mirroring(other.size[0]) if rng.random() < 0.5 else np.eye(3)
        room = np.array(self.input_size) - np.array(other.size) * factor
        left, top = rng.uniform(0, 1, 2) * room - EDGE
        return translation(float(left), float(top)) @ scaling(factor) @ translation(EDGE, EDGE) @ turn


def frame(part: Sample, matrix: np.ndarray) -> np.ndarray:
    """(4,) where a picture lies behind a matrix (3, 3): the hull of its corners."""
    width, height = part.size
    return hulls(matrix, np.array([[-EDGE, -EDGE, width - EDGE, height - EDGE]]))[0]


def within(boxes: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(..., 4) what of boxes, x, y of two corners, lies in a region (4,)."""
    low, high = np.maximum(boxes[..., :2], region[:2]), np.minimum(boxes[..., 2:], region[2:])
    return np.concatenate([low, np.maximum(low, high)], axis=-1)


def mirrored(sample: Sample) -> Sample:
    """A sample with left and right joints exchanged, for a matrix that mirrors it."""
    order = sample.skeleton.mirror
    return replace(sample, keypoints=sample.keypoints[:, order], visible=sample.visible[:, order])


def joined(sample: Sample, parts: Sequence[Sample], tiles: Sequence[Tile], canvas: Canvas) -> Sample:
    """A sample of a canvas with the people of all its parts: joints beyond a tile's region are not labelled."""
    people = [moved(part, tile) for part, tile in zip(parts, tiles, strict=True)]
    values: dict[str, Any] = {n: np.concatenate([p[n] for p in people]) for n in people[0]}
    known = [part.record.defined for part in parts if part.record.defined is not None]
    record = replace(
        sample.record, **values, defined=np.logical_and.reduce(known) if known else None, centers=None, scales=None,
        heads=None, numbers=None, box_scores=None, outlines=None, ignore_outlines=None, truth=None, span=None,
    )  # fmt: skip
    return replace(sample, image=canvas, record=record, keypoints=record.keypoints, visible=record.visible)


def moved(part: Sample, tile: Tile) -> dict[str, Any]:
    """What a record knows of the people and the ignored regions of a part, on the canvas."""
    record, matrix, size = part.record, tile.matrix, enlargement(tile.matrix) ** 2
    keypoints = apply(matrix, np.asarray(part.keypoints, float))
    low, high = tile.region[:2], tile.region[2:]
    inside = ((keypoints >= low) & (keypoints <= high)).all(axis=-1)
    ignore = np.zeros((0, 4)) if record.ignore is None else record.ignore
    crowds = np.ones(len(ignore), bool) if record.ignore_crowds is None else record.ignore_crowds
    return dict(
        keypoints=keypoints.astype(np.float32),
        visible=np.where(inside, part.visible, 0).astype(np.uint8),
        boxes=within(hulls(matrix, record.whereabouts()), tile.region),
        areas=areas_of(record) * size,
        ignore=within(hulls(matrix, ignore), tile.region),
        ignore_areas=(ignore[:, 2:] - ignore[:, :2]).prod(axis=1) * size,
        ignore_crowds=crowds,
    )
