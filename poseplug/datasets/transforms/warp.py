"""The one warp at the end of a pipeline, and the further views that test-time fusion asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np

from poseplug.datasets.canvas import Canvas
from poseplug.datasets.images import REDUCED, Picture
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, about, apply, enlargement, middle, scaling, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample, stacked

INTERPOLATIONS = {'linear': cv2.INTER_LINEAR, 'cubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA}
INTERPOLATED = 3  # rows below a position that its colour may be made of, and one more


@TRANSFORMS.register_module()
class Scales(Transform):
    """Views of the picture at several scales about the middle of the input; the fields of all are fused."""

    def __init__(self, input_size: Size, scales: Sequence[float]):
        self.input_size, self.scales = input_size, scales

    def __call__(self, sample: Sample) -> Sample:
        first, *others = (about(scaling(s), middle(self.input_size)) @ sample.matrix for s in self.scales)
        sample.matrix, sample.views = first, others
        return sample


@TRANSFORMS.register_module()
class Warp(Transform):
    """Cut every view out of the picture by its matrix; what lies outside gets the colour `fill` (BGR, 0 to 255).

    With `reduced` a JPEG file is decoded at 1/2, 1/4 or 1/8 of its size where even that is no coarser than the input:
    several times cheaper for large pictures, and smoother where linear interpolation would skip pixels.
    """

    def __init__(
        self,
        input_size: Size,
        interpolation: str = 'linear',
        fill: Sequence[int] = (128, 128, 128),
        reduced: bool = False,
    ):
        if interpolation not in INTERPOLATIONS:
            raise ConfigError(f'Warp: interpolation is one of {", ".join(INTERPOLATIONS)}; got {interpolation!r}')
        self.input_size, self.fill, self.reduced = input_size, tuple(fill), reduced
        self.flags = INTERPOLATIONS[interpolation]

    def __call__(self, sample: Sample) -> Sample:
        matrices = [sample.matrix, *sample.views]
        sizes, image = sample.extents or [self.input_size] * len(matrices), sample.image
        if isinstance(image, Picture):
            reduction = how_reduced(matrices) if self.reduced and image.reducible else 1
            image = image.upper(max(map(rows_seen, matrices, sizes)), reduction)
            if reduction > 1:
                matrices = [m @ whole_from_reduced(reduction) for m in matrices]
        draw = image.drawn if isinstance(image, Canvas) else partial(cut, image)
        views = [draw(m, size, self.flags, self.fill)[None] for m, size in zip(matrices, sizes, strict=True)]
        sample.inputs = views[0] if len(views) == 1 else np.concatenate(stacked(views, [self.fill] * len(views)))
        sample.fill = self.fill
        return sample


def how_reduced(matrices: Sequence[np.ndarray]) -> int:
    """By how much (1, 2, 4 or 8) a picture may be reduced so that no matrix (3, 3) then enlarges it."""
    finest = max(enlargement(m) for m in matrices)
    return max(r for r in REDUCED if r == 1 or r * finest <= 1)


def rows_seen(matrix: np.ndarray, size: Size) -> int:
    """How many rows of a picture, from its first, the input of `size` behind a matrix (3, 3) is interpolated from."""
    (left, top), (right, bottom) = (-1.0, -1.0), size
    corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)])
    lowest = apply(np.linalg.inv(matrix), corners)[:, 1].max()
    return max(1, math.ceil(lowest) + INTERPOLATED)


def whole_from_reduced(reduction: int) -> np.ndarray:
    """(3, 3) from the pixels of a reduced picture to those of the whole one: each is the middle of a block."""
    return translation((reduction - 1) / 2, (reduction - 1) / 2) @ scaling(reduction)


def cut(
    image: np.ndarray,
    matrix: np.ndarray,
    size: Size,
    flags: int = cv2.INTER_LINEAR,
    fill: Sequence[int] = (128, 128, 128),
) -> np.ndarray:
    """The part of a picture that a matrix (3, 3; image to input pixels) brings into an input of `size`."""
    return cv2.warpAffine(image, matrix[:2], size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
