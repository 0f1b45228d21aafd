"""Changes of pictures that end with an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample


@TRANSFORMS.register_module()
class Until(Transform):
    """Applies `transforms` to the samples of the epochs before `epoch`, counted from 0, and `then` to the later ones.

    A sample knows its epoch, so that a resumed run, with loaders that read ahead, switches at the same sample.
    """

    def __init__(
        self,
        input_size: Size,
        epoch: int,
        transforms: Sequence[Mapping[str, Any]],
        then: Sequence[Mapping[str, Any]] = (),
    ):
        if epoch < 0:
            raise ConfigError(f'Until: epoch is 0 or later; got {epoch}')
        self.epoch = epoch
        self.before, self.after = (
            [TRANSFORMS.build(t, input_size=input_size) for t in ts] for ts in (transforms, then)
        )

    def __call__(self, sample: Sample) -> Sample:
        for transform in self.before if sample.draw.epoch < self.epoch else self.after:
            sample = transform(sample)
        return sample

    def sees(self, half: np.ndarray, size: Size) -> np.ndarray:
        ways = [half, half]
        for n, transforms in enumerate((self.before, self.after)):
            for transform in reversed(transforms):
                ways[n] = transform.sees(ways[n], size)
        return np.maximum(*ways)
