"""The contract of a transform: it changes one sample in place of thinking about models, and draws only from its rng."""

from __future__ import annotations

from abc import ABC, abstractmethod

from poseplug.sample import Sample


class Transform(ABC):
    """One change of one sample. Every random number comes from `sample.rng`, the sample's own generator."""

    @abstractmethod
    def __call__(self, sample: Sample) -> Sample:
        """Change the sample and return it."""
