"""The interface of a transform: it changes one sample and draws random numbers only from the sample's generator."""

from __future__ import annotations

__all__ = ['Transform']

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from poseplug.core.geometry import Size
from poseplug.core.sample import Sample


class Transform(ABC):
    """One change of one sample. Every random number comes from `sample.rng`, so that the sample's key determines it.

    Example:
        >>> class Darken(Transform):
        ...     def __call__(self, sample):
        ...         sample.pixels = (sample.pixels * sample.rng.uniform(0.5, 1)).astype(np.uint8)
        ...         return sample
        >>> Darken().expand_half_extent(np.array([32.0, 32.0]), (64, 64)).tolist()  # it moves nothing
        [32.0, 32.0]
    """

    needs_annotation: ClassVar[bool] = False  # whether the sample must say where its subject is, by a box or the like

    @abstractmethod
    def __call__(self, sample: Sample) -> Sample:
        """Change the sample.

        Args:
            sample: the sample; it may be changed in place.

        Returns:
            The changed sample.
        """

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        """Return how much of the input before this transform can appear within an extent after it.

        Packs contain this much around an instance. A transform that moves nothing returns `half_extent`.

        Args:
            half_extent: (2,) half the extent in x and y, in input px from the center of the input.
            input_size: (width, height) of the input in px.

        Returns:
            (2,) half the extent before the transform, in the same unit.
        """
        return half_extent
