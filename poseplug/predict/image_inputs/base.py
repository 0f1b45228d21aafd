"""The interface of a form in which images are given, and an opened image."""

from __future__ import annotations

__all__ = ['ImageForm', 'NamedImage']

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np


class NamedImage(NamedTuple):
    """An opened image.

    Attributes:
        path: of its file, or a name for messages.
        pixels: (H, W, 3) uint8, BGR, upright.
        seconds: time of a frame in its video; None for an image.
    """

    path: Path
    pixels: np.ndarray
    seconds: float | None = None


class ImageForm(ABC):
    """A form of one image, or of several that are opened one after the other.

    Attributes:
        is_single: whether a value is one image.
        is_endless: whether its images end only when the caller stops reading.
        keeps_pixels: whether a result holds the pixels, since the value cannot be read again.
    """

    is_single: ClassVar[bool] = True
    is_endless: ClassVar[bool] = False
    keeps_pixels: ClassVar[bool] = False

    @abstractmethod
    def matches(self, value: Any) -> bool:
        """Whether a value has this form."""

    def expand(self, value: Any) -> Iterator[Any]:
        """Yield the images that a value stands for, in forms of single images."""
        yield value

    def read(self, value: Any, name: str) -> NamedImage:
        """Open a single image.

        Args:
            value: that `matches`.
            name: what messages call an image that has no path.

        Raises:
            ImageError: it cannot be read.
        """
        raise NotImplementedError(f'{type(self).__name__} is a form of several images')
