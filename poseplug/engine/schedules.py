"""Courses of the learning rate that mmengine has not; a config names them like its own."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from poseplug.errors import ConfigError


@PARAM_SCHEDULERS.register_module()
class QuadraticWarmupLR(LRSchedulerMixin, _ParamScheduler):
    """The rate rises with the square of the steps, from nearly 0 to its own at `end` (YOLOX, arXiv:2107.08430)."""

    def __init__(self, optimizer: Any, *args: Any, begin: int = 0, end: int = INF, **settings: Any):
        if not 0 <= begin < end < INF:
            raise ConfigError(f'QuadraticWarmupLR: begin lies before end, and both are given; got {begin} and {end}')
        self.steps = end - begin
        super().__init__(optimizer, *args, begin=begin, end=end, **settings)

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, begin: int = 0, end: int = INF, by_epoch: bool = True, epoch_length: int = 1, **settings: Any
    ) -> QuadraticWarmupLR:
        """By steps, of a course that is told in epochs."""
        return cls(*args, begin=begin * epoch_length, end=end * epoch_length, by_epoch=False, **settings)

    def _get_value(self) -> list[float]:
        share = (self.last_step + 1) / self.steps
        return [value * min(share, 1.0) ** 2 for value in self.base_values]
