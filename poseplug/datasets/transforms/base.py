"""The contract of a transform: it changes one sample in place of thinking about models, and draws only from its rng."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from poseplug.geometry import Size
from poseplug.sample import Sample


class Transform(ABC):
    """One change of one sample. Every random number comes from `sample.rng`, the sample's own generator."""

    @abstractmethod
    def __call__(self, sample: Sample) -> Sample:
        """Change the sample and return it."""

    def sees(self, half: np.ndarray, size: Size) -> np.ndarray:
        """How far (2,; x and y, px) from the middle that may lie before this change which then lies within `half`.

        `size` is the input's. Packs hold this much around a person; a change that moves nothing sees no more.
        """
        return half
