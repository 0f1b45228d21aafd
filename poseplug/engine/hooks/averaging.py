"""Averaged weights (exponential moving average) of models that may be sharded."""

from __future__ import annotations

import mmengine.hooks
from mmengine.registry import MODELS

from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

__all__ = ['EMAHook']


@HOOKS.register_module()
class EMAHook(mmengine.hooks.EMAHook):
    """mmengine's `EMAHook` with the same settings; it averages sharded models (FSDP), too."""

    def before_run(self, runner: RunnerLike) -> None:
        """Copy the model; the averages begin with its weights."""
        self.src_model = runner.bare_model
        self.ema_model = MODELS.build(self.ema_cfg, default_args=dict(model=runner.strategy.copy_source()))
