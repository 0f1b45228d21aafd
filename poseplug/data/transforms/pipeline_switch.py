"""Switches from one list of transforms to another at an epoch."""

from __future__ import annotations

__all__ = ['PipelineSwitch']

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from poseplug.core.geometry import CropRule, Size
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import check_counts
from poseplug.data.transforms.base import PIPELINE_SLOT, Transform, TransformContainer, build_pipeline
from poseplug.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PipelineSwitch(TransformContainer):
    """Applies some transforms to the samples of the first epochs, and others to those of later epochs.

    The epoch is that of the sample's key. So a resumed run switches at the same sample, even with workers that load
    samples of the next epoch ahead.

    Args:
        input_size: (width, height) of the input in px.
        switch_epoch: the first epoch, counted from 0, of the later transforms.
        first_transforms: transforms of the epochs before.
        later_transforms: transforms from that epoch on.
        crop_rule: as in `CropBox`; provided by the codec.

    Raises:
        ConfigError: `switch_epoch` is negative, or transforms stand in the wrong order.
    """

    slots: ClassVar = {'first_transforms': PIPELINE_SLOT, 'later_transforms': PIPELINE_SLOT}

    def __init__(
        self,
        input_size: Size,
        switch_epoch: int,
        first_transforms: Sequence[Mapping[str, Any]],
        later_transforms: Sequence[Mapping[str, Any]] = (),
        crop_rule: CropRule = 'pixels',
    ):
        check_counts('PipelineSwitch', min_count=0, switch_epoch=switch_epoch)
        self.switch_epoch = switch_epoch
        provided = dict(input_size=input_size, crop_rule=crop_rule)
        self.first_transforms = build_pipeline(first_transforms, **provided)
        self.later_transforms = build_pipeline(later_transforms, **provided)

    def list_branches(self) -> list[Sequence[Transform]]:
        return [self.first_transforms, self.later_transforms]

    def __call__(self, sample: Sample) -> Sample:
        # The key's epoch, not a counter of calls: workers read ahead into the next epoch.
        is_first = sample.key.epoch < self.switch_epoch
        for transform in self.first_transforms if is_first else self.later_transforms:
            sample = transform(sample)
        return sample

    def expand_half_extent(self, half_extent: np.ndarray, input_size: Size) -> np.ndarray:
        # A pack serves all epochs, so it needs the larger extent of the two.
        extents = []
        for transforms in (self.first_transforms, self.later_transforms):
            extent = half_extent
            for transform in reversed(transforms):
                extent = transform.expand_half_extent(extent, input_size)
            extents.append(extent)
        return np.maximum(*extents)
