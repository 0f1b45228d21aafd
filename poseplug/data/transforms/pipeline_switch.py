"""Switches from one list of transforms to another at a point of a run."""

from __future__ import annotations

__all__ = ['PipelineSwitch']

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from poseplug.core.geometry import CropRule, Size
from poseplug.core.sample import RunPosition, Sample, SampleKey
from poseplug.core.setting_checks import check_counts, check_probabilities
from poseplug.data.transforms.base import PIPELINE_SLOT, Transform, TransformContainer, build_pipeline
from poseplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PipelineSwitch(TransformContainer):
    """Applies some transforms to the samples of the first part of a run, and others to those of its later part.

    The position in the run is that of the sample's key. So a resumed run switches at the same sample, even with workers
    that load samples of the next epoch ahead. A run that ends before the switch is reported. Samples that are requested
    without a run have no fraction of it, and get the first transforms.

    Args:
        input_size: (width, height) of the input in px.
        switch_epoch: the first epoch, counted from 0, of the later transforms; or a fraction of the run, from 0 to 1,
            as a float, which follows its length and counts in runs of steps, too.
        first_transforms: transforms before that point.
        later_transforms: transforms from there on.
        crop_rule: as in `CropBox`; provided by the codec.

    Raises:
        ConfigError: `switch_epoch` is negative or no fraction, or transforms stand in the wrong order.
    """

    slots: ClassVar = {'first_transforms': PIPELINE_SLOT, 'later_transforms': PIPELINE_SLOT}

    def __init__(
        self,
        input_size: Size,
        switch_epoch: float,
        first_transforms: Sequence[Mapping[str, Any]],
        later_transforms: Sequence[Mapping[str, Any]] = (),
        crop_rule: CropRule = 'pixels',
    ):
        if isinstance(switch_epoch, float):
            check_probabilities('PipelineSwitch', switch_epoch=switch_epoch)
        else:
            check_counts('PipelineSwitch', min_count=0, switch_epoch=switch_epoch)
        self.switch_epoch = switch_epoch
        provided = dict(input_size=input_size, crop_rule=crop_rule)
        self.first_transforms = build_pipeline(first_transforms, **provided)
        self.later_transforms = build_pipeline(later_transforms, **provided)

    def list_branches(self) -> list[Sequence[Transform]]:
        return [self.first_transforms, self.later_transforms]

    def __call__(self, sample: Sample) -> Sample:
        # The key's position, not a counter of calls: workers read ahead into the next epoch.
        is_later = self._is_after_switch(sample.key)
        for transform in self.later_transforms if is_later else self.first_transforms:
            sample = transform(sample)
        return sample

    def _is_after_switch(self, key: SampleKey) -> bool:
        """Whether a sample belongs to the later part of the run."""
        # A source that is drawn more often than others has had more epochs than the run.
        position = key.run_position or RunPosition(key.epoch)
        reached = position.fraction if isinstance(self.switch_epoch, float) else position.epoch
        return reached is not None and reached >= self.switch_epoch

    def find_run_problems(self, num_epochs: float) -> list[str]:
        num_switch_epochs = self.switch_epoch * (num_epochs if isinstance(self.switch_epoch, float) else 1)
        problems = super().find_run_problems(num_epochs)
        if num_switch_epochs >= num_epochs:
            problems.append(
                f'PipelineSwitch changes the transforms at switch_epoch={self.switch_epoch}, which is not reached in '
                f'{num_epochs:.4g} epochs; give a fraction of the run instead, such as 0.9'
            )
        return problems

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        # A pack serves all epochs, so it needs the larger extent of the two.
        extents = []
        for transforms in (self.first_transforms, self.later_transforms):
            extent = half_extent
            for transform in reversed(transforms):
                extent = transform.expand_half_extent(extent, input_size)
            extents.append(extent)
        return np.maximum(*extents)
