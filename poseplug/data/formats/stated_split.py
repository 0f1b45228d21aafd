"""The split into parts for training, validation and tests that labels state."""

from __future__ import annotations

__all__ = ['ImageSplit', 'find_split_word', 'read_stated_split']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SPLIT_WORDS = {'train': ('train',), 'val': ('val',), 'test': ('test',)}  # 'valid', 'val2017', 'validation', ...


@dataclass(frozen=True)
class ImageSplit:
    """The split of each image.

    Attributes:
        names: 'train', 'val' or 'test' of each image, in order.
        notes: how it came about.
    """

    names: list[str]
    notes: list[str] = field(default_factory=list)

    def count_images(self, name: str) -> int:
        """Return the number of images of a split."""
        return self.names.count(name)


def read_stated_split(images: Sequence[Mapping[str, Any]]) -> ImageSplit | None:
    """Return the split that the files state, if they have one for training and one to measure.

    Args:
        images: of COCO's object; their `split` is the name of a file or folder, such as 'train2017'.

    Returns:
        The split; None if the files have none. A part for tests alone is for validation.
    """
    words = [find_split_word(str(image.get('split', ''))) for image in images]
    present = set(words)
    # Training images alone are no split: something must be measured on.
    if 'train' not in present or not present & {'val', 'test'}:
        return None
    notes = ['split: that of the files']
    if 'val' not in present:
        words = ['val' if word == 'test' else word for word in words]
        notes = ['split: that of the files, whose part for tests is used for validation']
    num_unknown = words.count('')
    if num_unknown:
        notes.append(f'{num_unknown:,} images of parts with another name are for training')
    # Unknown parts rather train than validate: a measurement on images of unknown origin says little.
    return ImageSplit([word or 'train' for word in words], notes)


def find_split_word(name: str) -> str:
    """Return the split that the name of a file or folder contains: 'train', 'val' or 'test'; '' for none.

    Args:
        name: as in 'train2017'.

    Example:
        >>> find_split_word('validation'), find_split_word('images')
        ('val', '')
    """
    matches = (split for split, words in _SPLIT_WORDS.items() if any(word in name.lower() for word in words))
    return next(matches, '')
