"""Whole pictures with everybody in them: where they are put in the input, and what of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from poseplug.datasets.outlines import counting
from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, middle, place, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample

SIDES = ('height', 'longer', 'shorter')


@TRANSFORMS.register_module()
class PlaceWhole(Transform):
    """The whole picture in an input of its own shape, for testing; it ends at a multiple of `multiple` px.

    'height' makes the picture as high as the model's input; 'longer' as large as fits into that; 'shorter' as small as
    covers it. Half of what is added lies on either side. (Its place in an input of the model's size is `PlacePicture`'s
    to find.) `largest` px on the longer side is the most, whatever `side` says.
    """

    def __init__(
        self,
        input_size: Size,
        side: Literal['height', 'longer', 'shorter'] = 'height',
        multiple: int = 32,
        largest: int | None = None,
    ):
        if side not in SIDES:
            raise ConfigError(f'PlaceWhole: side is one of {SIDES}; got {side!r}')
        if multiple < 1 or (largest is not None and largest < multiple):
            raise ConfigError(
                f'PlaceWhole: multiple is 1 px or more, and largest at least that; got {multiple}, {largest}'
            )
        self.input_size, self.side, self.multiple, self.largest = input_size, side, multiple, largest

    def __call__(self, sample: Sample) -> Sample:
        whole = np.array(sample.size)
        factors = np.array(self.input_size) / whole
        factor = {'height': factors[1], 'longer': factors.min(), 'shorter': factors.max()}[self.side]
        if self.largest is not None:
            factor = min(factor, self.largest / whole.max())
        extent = rounded_up(whole * factor, self.multiple)
        sample.matrix, sample.extents = place(middle(sample.size), float(factor), extent), [extent]
        return sample


@TRANSFORMS.register_module()
class WholeScales(Transform):
    """Views of the whole picture at several scales, each in an input of its own size; the fields of all are averaged.

    Stands after `PlaceWhole`. People are put together on the cells of the first, so that `scales` begins with the one
    that matters most: (1, 0.5, 1.5, 2) are the released test's.
    """

    def __init__(self, input_size: Size, scales: Sequence[float] = (1.0, 0.5, 1.5, 2.0), multiple: int = 32):
        if not scales or min(scales) <= 0 or multiple < 1:
            raise ConfigError(f'WholeScales: scales and multiple are positive; got {tuple(scales)} and {multiple}')
        self.input_size, self.scales, self.multiple = input_size, tuple(scales), multiple

    def __call__(self, sample: Sample) -> Sample:
        base = np.array(sample.extents[0] if sample.extents else self.input_size)
        extents = [rounded_up(base * scale, self.multiple) for scale in self.scales]
        center = middle((int(base[0]), int(base[1])))
        first, *others = (
            place(center, scale, extent) @ sample.matrix for scale, extent in zip(self.scales, extents, strict=True)
        )
        sample.matrix, sample.views, sample.extents = first, others, extents
        return sample


@TRANSFORMS.register_module()
class PlaceOnPerson(Transform):
    """The first person's box to the middle of the input, `height` of the input's height high; everybody stays in it.

    For training on whole pictures (Cao et al. 2017: 0.6), with `PoseDataset(per='center')`. A picture of nobody is put
    in the middle, as high as the input.
    """

    def __init__(self, input_size: Size, height: float = 0.6):
        if not height > 0:
            raise ConfigError(f"PlaceOnPerson: height is a positive share of the input's; got {height}")
        self.input_size, self.height = input_size, height

    def __call__(self, sample: Sample) -> Sample:
        boxes = sample.record.whereabouts()[:1]
        tall = boxes[:, 3] - boxes[:, 1]
        if not len(boxes) or not tall[0] > 0:
            factor = self.input_size[1] / sample.size[1]
            sample.matrix = place(middle(sample.size), factor, self.input_size)
        else:
            factor = float(self.height * self.input_size[1] / tall[0])
            sample.matrix = place((boxes[0, :2] + boxes[0, 2:]) / 2, factor, self.input_size)
        return sample


@TRANSFORMS.register_module()
class RandomShift(Transform):
    """Move the picture by U(-`share`, `share`) of the input's size on either axis (Cao et al. 2017: 40 px of 368)."""

    def __init__(self, input_size: Size, share: float = 40 / 368):
        self.input_size, self.share = input_size, share

    def __call__(self, sample: Sample) -> Sample:
        dx, dy = sample.rng.uniform(-self.share, self.share, 2) * self.input_size
        sample.matrix = translation(dx, dy) @ sample.matrix
        return sample

    def sees(self, half: np.ndarray, size: Size) -> np.ndarray:
        return half + self.share * np.array(size)


@TRANSFORMS.register_module()
class MaskUnlabelled(Transform):
    """The mask of the input's pixels that count: not those of people without labels and of crowds.

    Stands after everything that changes the matrix. A source that reads `outlines` makes it exact.
    """

    def __init__(self, input_size: Size):
        self.input_size = input_size

    def __call__(self, sample: Sample) -> Sample:
        extent = sample.extents[0] if sample.extents else self.input_size
        sample.mask = counting(sample.record, sample.matrix, extent)
        return sample


def rounded_up(extent: np.ndarray, multiple: int) -> Size:
    """(width, height) at the next multiples; a hair above one is that one."""
    width, height = (np.ceil(np.maximum(extent, 1) / multiple - 1e-6).astype(int) * multiple).tolist()
    return width, height
