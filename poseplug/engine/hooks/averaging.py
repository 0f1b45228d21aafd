"""Averaged weights (exponential moving average) of models that may be sharded."""

from __future__ import annotations

import mmengine.hooks
from mmengine.registry import MODELS

from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

__all__ = ['EMAHook']


@HOOKS.register_module()
class EMAHook(mmengine.hooks.EMAHook):
    """mmengine's `EMAHook`, which averages sharded models (FSDP), too.

    Args:
        ema_type: mmengine's or an own class of averages.
        strict_load: whether the averages of a checkpoint must fit the model.
        begin_iter: the step from which on averages are taken.
        begin_epoch: the epoch instead.
        momentum: weight of the newest weights; None for the default of `ema_type`.
        interval: number of steps between two updates.
        update_buffers: whether buffers, such as those of batch norm, are averaged too.
        gamma: of `MomentumAnnealingEMA`; None for its default.
    """

    def __init__(
        self,
        ema_type: str = 'ExponentialMovingAverage',
        strict_load: bool = False,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        momentum: float | None = None,
        interval: int = 1,
        update_buffers: bool = False,
        gamma: int | None = None,
    ):
        optional = {key: value for key, value in dict(momentum=momentum, gamma=gamma).items() if value is not None}
        averages = dict(interval=interval, update_buffers=update_buffers, **optional)
        super().__init__(ema_type, strict_load, begin_iter, begin_epoch, **averages)

    def before_run(self, runner: RunnerLike) -> None:
        """Copy the model; the averages begin with its weights."""
        self.src_model = runner.bare_model
        self.ema_model = MODELS.build(self.ema_cfg, default_args=dict(model=runner.strategy.copy_source()))
