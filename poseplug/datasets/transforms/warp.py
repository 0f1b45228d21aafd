"""The one warp at the end of a pipeline, and the further views that test-time fusion asks for."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, about, middle, scaling
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample

INTERPOLATIONS = {'linear': cv2.INTER_LINEAR, 'cubic': cv2.INTER_CUBIC, 'area': cv2.INTER_AREA}


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
    """Cut every view out of the picture by its matrix; what lies outside gets the colour `fill` (BGR, 0 to 255)."""

    def __init__(self, input_size: Size, interpolation: str = 'linear', fill: Sequence[int] = (128, 128, 128)):
        if interpolation not in INTERPOLATIONS:
            raise ConfigError(f'Warp: interpolation is one of {", ".join(INTERPOLATIONS)}; got {interpolation!r}')
        self.input_size, self.fill = input_size, tuple(fill)
        self.flags = INTERPOLATIONS[interpolation]

    def __call__(self, sample: Sample) -> Sample:
        views = [cut(sample.image, m, self.input_size, self.flags, self.fill) for m in [sample.matrix, *sample.views]]
        sample.inputs = np.stack(views)
        return sample


def cut(
    image: np.ndarray,
    matrix: np.ndarray,
    size: Size,
    flags: int = cv2.INTER_LINEAR,
    fill: Sequence[int] = (128, 128, 128),
) -> np.ndarray:
    """The part of a picture that a matrix (3, 3; image to input pixels) brings into an input of `size`."""
    return cv2.warpAffine(image, matrix[:2], size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
