"""EPE: the mean distance from joints to where they were predicted, in pixels."""

from __future__ import annotations

from poseplug.evaluation.mean_offset import MeanOffset
from poseplug.evaluation.offsets import People
from poseplug.registry import METRICS
from poseplug.skeleton import Skeleton


@METRICS.register_module()
class EPE(MeanOffset):
    """The mean distance in px (end-point error). `people` is 'subject' or 'all' as in `offsets.Offsets`."""

    name, factor = 'EPE', 1.0

    def __init__(self, skeleton: Skeleton, people: People = 'subject'):
        super().__init__(skeleton, 1.0, people)
