"""Where the subject is put in the input: these transforms start the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from poseplug.datasets.sources.scale import REFERENCE
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import AnnotationError, ConfigError
from poseplug.geometry import Size, middle, place
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample


@TRANSFORMS.register_module()
class PlaceByScale(Transform):
    """The subject's position to the middle of the input, its annotated scale to the reference size.

    A person of scale 1 (200 px tall) is enlarged by `reference` at an input 368 px wide, and in proportion at others.
    The position is moved `down` image px times the scale (15 for MPII in the released hourglass and HRNet).
    """

    def __init__(self, input_size: Size, reference: float = REFERENCE, down: float = 0.0):
        self.input_size, self.reference, self.down = input_size, reference * input_size[0] / 368, down

    def __call__(self, sample: Sample) -> Sample:
        record = sample.record
        if record.scales is None or not record.scales[0] > 0:
            raise AnnotationError(
                f'{record.path} of {record.source or "an unnamed source"} has no person scale; PlaceByScale needs one. '
                f'Use PlacePicture or PlaceBox'
            )
        scale = float(record.scales[0])
        below = position(sample) + (0.0, self.down * scale)
        sample.matrix = place(below, self.reference / scale, self.input_size)
        return sample


@TRANSFORMS.register_module()
class PlacePicture(Transform):
    """The whole picture in the middle of the input: its height, or its longer side, fills `fill` of the input's."""

    def __init__(self, input_size: Size, fill: float = 0.8, side: Literal['height', 'longer'] = 'height'):
        if side not in ('height', 'longer'):
            raise ConfigError(f"PlacePicture: side is 'height' or 'longer'; got {side!r}")
        self.input_size, self.fill, self.side = input_size, fill, side

    def __call__(self, sample: Sample) -> Sample:
        width, height = sample.size
        factor = self.input_size[1] / height
        if self.side == 'longer':
            factor = min(factor, self.input_size[0] / width)
        sample.matrix = place(middle(sample.size), self.fill * factor, self.input_size)
        return sample


@TRANSFORMS.register_module()
class PlaceBox(Transform):
    """The subject's box in the middle of the input, enlarged by `padding`, its aspect ratio kept.

    Without a box the hull of the labelled joints serves, `hull` times as large since joints end before the body does.
    `aligned` makes the box as long as the way from the first to the last pixel (UDP; Huang et al. 2020), not as the
    number of pixels.
    """

    def __init__(self, input_size: Size, padding: float = 1.25, hull: float = 1.25, aligned: bool = False):
        self.input_size, self.padding, self.hull, self.aligned = input_size, padding, hull, aligned

    def __call__(self, sample: Sample) -> Sample:
        low, high, padding = self._corners(sample)
        sample.matrix = fitted((low + high) / 2, (high - low) * padding, self.input_size, self.aligned)
        return sample

    def _corners(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, float]:
        if sample.record.boxes is not None:
            box = sample.record.boxes[0]
            return box[:2], box[2:], self.padding
        points = sample.keypoints[0][sample.visible[0] > 0]
        if not len(points):
            raise AnnotationError(
                f'{sample.record.path}: the person has neither a box nor a labelled joint inside the picture, so there '
                f'is nowhere to place; correct the annotation, or use PlacePicture'
            )
        return points.min(axis=0), points.max(axis=0), self.padding * self.hull


@TRANSFORMS.register_module()
class RandomHalfBody(Transform):
    """With a chance of `p` places the upper or the lower body alone, of a subject with more than `least` joints.

    The joints' hull times `padding`, about their mean. The upper body is meant in about 69 % of cases (a normal draw
    below 0.5), and the other half where it has fewer than three joints (Wang et al. 2018; HRNet's released recipe).
    Stands right after the transform that places the box.
    """

    def __init__(self, input_size: Size, p: float = 0.3, least: int = 8, padding: float = 1.5, aligned: bool = False):
        self.input_size, self.p, self.least, self.padding, self.aligned = input_size, p, least, padding, aligned

    def __call__(self, sample: Sample) -> Sample:
        seen = sample.visible[0] > 0
        if sample.rng.random() >= self.p or seen.sum() <= self.least:
            return sample
        lower = sample.skeleton.lower_body
        halves = [seen & ~lower, seen & lower]
        wanted, other = halves if sample.rng.standard_normal() < 0.5 else halves[::-1]
        chosen = wanted if wanted.sum() > 2 else other
        if chosen.sum() > 1:
            points = sample.keypoints[0][chosen]
            extent = (points.max(axis=0) - points.min(axis=0)) * self.padding
            sample.matrix = fitted(points.mean(axis=0), extent, self.input_size, self.aligned)
        return sample


def fitted(center: np.ndarray, extent: np.ndarray, size: Size, aligned: bool = False) -> np.ndarray:
    """(3, 3) that brings `center` to the middle of an input and all of `extent` (image px) into it."""
    room = np.array(size) - 1 if aligned else np.array(size)
    return place(center, float((room / np.maximum(extent, 1.0)).min()), size)


@TRANSFORMS.register_module()
class PlaceBySource(Transform):
    """Another placing for each source: `rules` maps a source's name ('lsp', 'lspet', ...) to its transform."""

    def __init__(self, input_size: Size, rules: Mapping[str, Any]):
        self.rules = {name: TRANSFORMS.build(rule, input_size=input_size) for name, rule in rules.items()}

    def __call__(self, sample: Sample) -> Sample:
        source = sample.record.source
        if source not in self.rules:
            raise ConfigError(f'PlaceBySource has no rule for source {source!r}; it has {", ".join(self.rules)}')
        return self.rules[source](sample)


def position(sample: Sample) -> np.ndarray:
    """(2,) where the subject stands in the picture: its declared centre, or the middle of the picture."""
    centers = sample.record.centers
    return np.array(middle(sample.size)) if centers is None else centers[0]
