"""The variants of a config that an experiment compares, and how long each is trained."""

from __future__ import annotations

__all__ = ['VariantTraining', 'Variant', 'check_variants', 'split_steps']

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poseplug.core.errors import ConfigError


@dataclass(frozen=True)
class VariantTraining:
    """One of the trainings that follow each other; each starts from the weights of the one before.

    Attributes:
        options: settings of this training alone, by dotted key.
        fraction: of the variant's steps, above 0.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    fraction: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A config with other settings.

    Attributes:
        name: of its rows in tables and charts.
        options: settings that replace those of the config, by dotted key.
        trainings: one after the other, or a single one.

    Example:
        >>> Variant('last stage alone', {'model.supervision': 'last'}).folder_name
        'last_stage_alone'
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trainings: Sequence[VariantTraining] = (VariantTraining(),)

    @property
    def folder_name(self) -> str:
        """The name as that of a folder."""
        return re.sub(r'[^\w.+-]+', '_', self.name).strip('_') or 'variant'


def check_variants(variants: Sequence[Variant]) -> None:
    """Check that there are variants and that their results have folders of their own.

    Raises:
        ConfigError: there is none, two have one name, or one has no training.
    """
    if not variants:
        raise ConfigError('there is no variant to train; name one by --variant')
    folders: dict[str, str] = {}
    for variant in variants:
        # by the folder: two names that differ in punctuation alone would share their results
        if variant.folder_name in folders:
            other = folders[variant.folder_name]
            raise ConfigError(f'the variants {other!r} and {variant.name!r} have one name; give each its own')
        folders[variant.folder_name] = variant.name
        if not variant.trainings or any(training.fraction <= 0 for training in variant.trainings):
            raise ConfigError(f'variant {variant.name!r} needs trainings of a fraction above 0 of the steps')


def split_steps(steps: int, trainings: Sequence[VariantTraining]) -> list[int]:
    """Split the steps of a variant among its trainings, so that they add up.

    Args:
        steps: of all trainings together.
        trainings: one after the other.

    Returns:
        The steps of each training.

    Raises:
        ConfigError: a training would have no step.

    Example:
        >>> split_steps(100, [VariantTraining(fraction=1), VariantTraining(fraction=2)])
        [33, 67]
    """
    total = sum(training.fraction for training in trainings)
    ends, done = [0], 0.0
    for training in trainings:
        done += training.fraction
        # rounded ends instead of rounded lengths, so that the lengths add up
        ends.append(round(steps * done / total))
    counts = [end - start for start, end in zip(ends, ends[1:], strict=False)]
    if min(counts) < 1:
        raise ConfigError(f'{steps} steps are too few for {len(trainings)} trainings; raise --steps')
    return counts
