"""The interface of a transform: it changes one sample and draws random numbers only from the sample's generator."""

from __future__ import annotations

__all__ = [
    'PIPELINE_SLOT',
    'PipelineStage',
    'Transform',
    'TransformContainer',
    'build_pipeline',
    'check_crop',
    'check_warped',
    'check_whole_image_crop',
    'find_pipeline_problems',
]

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import IntEnum
from itertools import chain, product
from typing import Any, ClassVar

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size
from poseplug.core.sample import Sample
from poseplug.registry import TRANSFORMS
from poseplug.registry.wiring import Slot

PIPELINE_SLOT = Slot('transform', ('input_size', 'crop_rule'), by_name=True, named_steps=True)


class PipelineStage(IntEnum):
    """The stages of a pipeline, in order; each transform belongs to one.

    Attributes:
        description: what a transform of that stage does, for messages.

    Example:
        >>> PipelineStage.CROP < PipelineStage.WARP
        True
    """

    IMAGE = 0, 'replaces the image'
    CROP = 1, 'crops the image'
    PART_CROP = 2, 'crops a part'
    GEOMETRY = 3, 'changes the crop'
    VIEWS = 4, 'adds views'
    MASK = 5, 'draws the loss mask'
    WARP = 6, 'warps the image'
    INPUT = 7, 'changes the warped input'

    description: str

    def __new__(cls, value: int, description: str) -> PipelineStage:
        """Return the stage of a number."""
        stage = int.__new__(cls, value)
        stage._value_, stage.description = value, description
        return stage


# A crop replaces the matrix and a warp the input, so that what an earlier one did would be lost.
_SINGLE_STAGES = (PipelineStage.CROP, PipelineStage.WARP)


class Transform(ABC):
    """One change of one sample. Every random number comes from `sample.rng`, so that the sample's key determines it.

    Attributes:
        stage: what it changes, which says where it may stand in a pipeline; None: anywhere.
        needs_annotation: whether the sample must say where its subject is, by a box or the like.
        is_for_training: whether a transformed test image shows something else than its annotations say, as a flipped
            one does, whose left is right; configs of tests refuse it.

    Example:
        >>> class Darken(Transform):
        ...     def __call__(self, sample):
        ...         sample.image = (sample.pixels * sample.rng.uniform(0.5, 1)).astype(np.uint8)
        ...         return sample
        >>> Darken().expand_half_extent(np.array([32.0, 32.0]), (64, 64)).tolist()  # it moves nothing
        [32.0, 32.0]
    """

    stage: ClassVar[PipelineStage | None] = None
    needs_annotation: ClassVar[bool] = False
    is_for_training: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = PIPELINE_SLOT.provides

    @abstractmethod
    def __call__(self, sample: Sample) -> Sample:
        """Change the sample.

        Args:
            sample: the sample; it may be changed in place.

        Returns:
            The changed sample.
        """

    def list_alternatives(self) -> list[list[Transform]]:
        """Return the sequences of transforms of which one is applied to a sample: by default this transform alone."""
        return [[self]]

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

    def find_run_problems(self, num_epochs: float) -> list[str]:
        """Return what this transform would never do in a run of some length, a sentence each: by default nothing.

        Args:
            num_epochs: length of the run.
        """
        return []


class TransformContainer(Transform):
    """A transform that applies one of several lists of other transforms."""

    @abstractmethod
    def list_branches(self) -> list[Sequence[Transform]]:
        """Return the lists of transforms, of which one is applied to a sample."""

    def list_alternatives(self) -> list[list[Transform]]:
        return [sequence for branch in self.list_branches() for sequence in _list_sequences(branch)]

    def find_run_problems(self, num_epochs: float) -> list[str]:
        transforms = [transform for branch in self.list_branches() for transform in branch]
        return find_pipeline_problems(transforms, num_epochs)


def build_pipeline(specs: Sequence[Transform | Mapping[str, Any]], **provided: Any) -> list[Transform]:
    """Build the transforms of a pipeline, and check their order.

    Args:
        specs: the transforms in order, built or as config dicts.
        provided: values of other parts, such as `input_size`, for the transforms that take them.

    Returns:
        The transforms.

    Raises:
        ConfigError: a transform is unknown or its settings are wrong, or two transforms stand in the wrong order.

    Example:
        >>> specs = [dict(type="CropBox"), dict(type="Warp"), dict(type="RandomFlip")]
        >>> build_pipeline(specs, input_size=(64, 64))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: ...put it before Warp
    """
    pipeline = [TRANSFORMS.build(spec, **provided) for spec in specs]
    for sequence in _list_sequences(pipeline):
        _check_order(sequence)
    return pipeline


def check_crop(pipeline: Sequence[Transform]) -> None:
    """Raise if a whole pipeline warps the image without a crop, which would cut out its top left corner.

    A transform without a stage, which another package may define, can crop the image: with one nothing is judged.

    Args:
        pipeline: the built transforms of a data set.

    Raises:
        ConfigError: no transform says which region of the image becomes the input.

    Example:
        >>> check_crop(build_pipeline([dict(type="Warp")], input_size=(64, 64)))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: pipeline: Warp stands without a transform that crops the image...
    """
    for sequence in _list_sequences(pipeline):
        stages = {t.stage if isinstance(t, Transform) else None for t in sequence}
        if PipelineStage.WARP in stages and not stages & {None, PipelineStage.CROP}:
            warp = next(t for t in sequence if t.stage == PipelineStage.WARP)
            raise ConfigError(
                f'pipeline: {type(warp).__name__} stands without a transform that crops the image, such as CropBox, '
                f'LetterboxImage or FitImage: the input would be the top left corner of the image; put one before it'
            )


def check_whole_image_crop(pipeline: Sequence[Transform]) -> None:
    """Raise if a pipeline of whole images crops a subject: an image has none, or several.

    Args:
        pipeline: the built transforms of a data set whose samples are whole images.

    Raises:
        ConfigError: a transform crops the image around a subject.
    """
    for transform in (t for sequence in _list_sequences(pipeline) for t in sequence):
        if isinstance(transform, Transform) and transform.needs_annotation:
            name = type(transform).__name__
            raise ConfigError(
                f"pipeline: {name} crops a subject, but with data_mode='bottomup' a sample is an image of any number "
                f'of instances, and it would cut off all but the first; use LetterboxImage or FitImage, or leave '
                f'data_mode out'
            )


def find_pipeline_problems(pipeline: Sequence[Transform], num_epochs: float) -> list[str]:
    """Find what the transforms of a pipeline would never do in a run.

    Args:
        pipeline: the built transforms.
        num_epochs: length of the run.

    Returns:
        A sentence for each problem, once.

    Example:
        >>> switch = dict(type='PipelineSwitch', switch_epoch=9, first_transforms=[dict(type='RandomFlip')])
        >>> len(find_pipeline_problems(build_pipeline([switch], input_size=(64, 64)), num_epochs=5))
        1
    """
    # Parts of other packages may be plain functions.
    problems = [t.find_run_problems(num_epochs) for t in pipeline if isinstance(t, Transform)]
    return list(dict.fromkeys(chain.from_iterable(problems)))


def check_warped(transform: Transform, sample: Sample) -> None:
    """Raise if a sample has no input yet that a transform could change.

    Args:
        transform: that changes the warped input.
        sample: that it receives.

    Raises:
        ConfigError: the image was not warped.
    """
    if not sample.is_warped:
        name = type(transform).__name__
        raise ConfigError(f'{name} changes the warped input; put it after Warp in the pipeline')


def _list_sequences(pipeline: Sequence[Transform]) -> list[list[Transform]]:
    """Every sequence of transforms that a sample may pass."""
    # Parts of other packages may be plain functions.
    alternatives = [t.list_alternatives() if isinstance(t, Transform) else [[t]] for t in pipeline]
    return [[t for part in parts for t in part] for parts in product(*alternatives)]


def _check_order(sequence: Sequence[Transform]) -> None:
    """Raise if a transform stands after one whose work it would undo or miss."""
    staged = [(t.stage, type(t).__name__) for t in sequence if isinstance(t, Transform) and t.stage is not None]
    for i, (stage, name) in enumerate(staged):
        for earlier_stage, earlier_name in staged[:i]:
            if stage == earlier_stage and stage in _SINGLE_STAGES:
                raise ConfigError(
                    f'pipeline: each of {earlier_name} and {name} {stage.description}, which undoes the first; leave '
                    f'one of them out'
                )
            # The mask follows from the matrix alone: it may be drawn before or after the warp.
            is_late_mask = stage == PipelineStage.MASK and earlier_stage >= PipelineStage.WARP
            if stage < earlier_stage and not is_late_mask:
                raise ConfigError(
                    f'pipeline: {name} ({stage.description}) stands after {earlier_name} '
                    f'({earlier_stage.description}); put it before {earlier_name}'
                )
