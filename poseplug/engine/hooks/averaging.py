"""Averaged weights (exponential moving average), whose decay grows with the number of steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import mmengine.hooks
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_counts, check_finite, check_flags, check_positive
from poseplug.engine.runner_types import RunnerLike
from poseplug.engine.setting_errors import name_setting_errors
from poseplug.registry import HOOKS

__all__ = ['EMAHook']

_DEFAULT_MOMENTUM = 0.0002  # of mmengine's averages
_MAX_MOMENTUM = 0.5  # above it, an average is hardly one of more than the last weights
_MAX_START_WEIGHT = 0.01  # of the first weights in the average; above it, scores say little about the training
_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class EMAHook(mmengine.hooks.EMAHook):
    """mmengine's `EMAHook`, of sharded models (FSDP), too, and with a decay that grows with the steps.

    The average begins as the weights after the first step, and every later step t = 1, 2, ... does
    `average = decay * average + (1 - decay) * weights`. With a constant decay of 0.998, 62 % of the random start were
    left after 240 steps. So the decay is `min(1 - momentum, (1 + t) / (10 + t))`, as in TensorFlow's
    `ExponentialMovingAverage(num_updates=t)`. Where the start weighs more than 1 % in an evaluation, a warning says so.

    Args:
        ema_type: mmengine's or an own class of averages.
        strict_load: whether the averages of a checkpoint must fit the model.
        begin_iter: the step from which on averages are taken.
        begin_epoch: the epoch instead.
        momentum: weight of the newest weights in a long run, above 0 and at most 0.5; None for the default of
            `ema_type`.
        interval: number of steps between two updates.
        update_buffers: whether buffers, such as those of batch norm, are averaged too.
        gamma: of `MomentumAnnealingEMA`; None for its default.
        run_fraction: instead of `momentum`: the fraction of the run that the average covers, so that it follows the
            length of the run; the momentum is 1 / (fraction x steps).
        ramp: whether the decay grows as above; False for the same decay in every step. Other types than the default one
            have their own rule.

    Raises:
        ConfigError: `momentum` or `run_fraction` is out of range.
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
        ramp: bool = True,
        run_fraction: float | None = None,
    ):
        check_counts('EMAHook', interval=interval)
        check_counts('EMAHook', min_count=0, begin_iter=begin_iter, begin_epoch=begin_epoch)
        check_flags('EMAHook', ramp=ramp)
        given = dict(momentum=momentum, gamma=gamma, run_fraction=run_fraction)
        check_finite('EMAHook', **{key: value for key, value in given.items() if value is not None})
        check_positive('EMAHook', **({} if gamma is None else {'gamma': gamma}))
        if momentum is not None and not 0 < momentum <= _MAX_MOMENTUM:
            # timm, torch and Keras state the decay instead.
            remedy = f'; is {momentum} the decay? Then set {1 - momentum:.4g}' if _MAX_MOMENTUM < momentum < 1 else ''
            raise ConfigError(
                f'EMAHook: momentum is above 0 and at most {_MAX_MOMENTUM}, and usually below 0.01; got '
                f'{momentum}{remedy}'
            )
        if run_fraction is not None and (momentum is not None or not 0 < run_fraction <= 1):
            raise ConfigError(
                f'EMAHook: run_fraction is above 0 and at most 1, and stands instead of momentum; got {run_fraction} '
                f'and momentum={momentum}'
            )
        optional = {key: value for key, value in dict(momentum=momentum, gamma=gamma).items() if value is not None}
        averages = dict(interval=interval, update_buffers=update_buffers, **optional)
        super().__init__(ema_type, strict_load, begin_iter, begin_epoch, **averages)
        self.momentum, self.ramp, self.run_fraction = momentum or _DEFAULT_MOMENTUM, ramp, run_fraction
        self.start_weight = torch.tensor(0.0)  # of the first weights in the average
        self.warned_step: int | None = None

    def before_run(self, runner: RunnerLike) -> None:
        """Copy the model; the averages begin with its weights."""
        if self.run_fraction is not None:
            self.momentum = min(_MAX_MOMENTUM, 1 / (self.run_fraction * runner.max_iters))
            self.ema_cfg['momentum'] = self.momentum
        # mmengine copies the model itself, which a sharded one does not allow
        self.src_model = runner.bare_model
        with name_setting_errors(f'EMAHook, ema_type={self.ema_cfg.get("type")!r}'):
            self.ema_model = MODELS.build(self.ema_cfg, default_args=dict(model=runner.strategy.copy_source()))

    def before_train(self, runner: RunnerLike) -> None:
        """Check that the average starts within the run."""
        # mmengine checks the same by an assertion
        for name, last in (('begin_iter', runner.max_iters), ('begin_epoch', runner.train_loop.max_epochs)):
            if getattr(self, name) > last:
                raise ConfigError(
                    f'EMAHook: {name}={getattr(self, name)} is after the end of the run, {last}; the weights would '
                    f'never be averaged'
                )

    def after_train_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Update the average."""
        step = int(self.ema_model.steps)
        # MomentumAnnealingEMA and StochasticWeightAverage compute their own decay
        if self.ramp and type(self.ema_model) is ExponentialMovingAverage:
            self.ema_model.momentum = compute_momentum(step // self.ema_model.interval, self.momentum)
        # the first update copies the weights, whatever the momentum
        if self._ema_started(runner) and step == 0:
            self.start_weight.fill_(1.0)
        elif step and step % self.ema_model.interval == 0:
            # the same formula as that of the weights, whatever type of average it is
            self.ema_model.avg_func(self.start_weight, torch.zeros(()), step)
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def before_val_epoch(self, runner: RunnerLike) -> None:
        """Evaluate the average instead of the weights."""
        self._warn_of_start_weight(runner)
        super().before_val_epoch(runner)

    def after_train(self, runner: RunnerLike) -> None:
        """Report a start that still weighs much at the end."""
        self._warn_of_start_weight(runner)

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Save the average as the checkpoint's weights, and the weights beside it."""
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint['meta']['average_start_weight'] = float(self.start_weight)

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Restore the average of a resumed run."""
        super().after_load_checkpoint(runner, checkpoint)
        if runner.is_resumed and 'ema_state_dict' in checkpoint:
            self.start_weight.fill_(checkpoint['meta'].get('average_start_weight', 0.0))

    def _warn_of_start_weight(self, runner: RunnerLike) -> None:
        """Log a warning, once a step, if the first weights still count in the average."""
        weight = float(self.start_weight)
        if weight <= _MAX_START_WEIGHT or self.warned_step == runner.iter:
            return
        self.warned_step = runner.iter
        message = (
            'step %d: %.3g %% of the averaged weights (EMAHook, momentum %g) are still those after the first step, so '
            'that their scores say little about the training; train longer, average less (a larger momentum), or '
            'measure the raw weights: poseplug test CONFIG %s --weights raw'
        )
        _LOGGER.warning(message, runner.iter, 100 * weight, self.momentum, runner.work_dir)


def compute_momentum(num_updates: int, momentum: float) -> float:
    """Compute 1 - the decay of an average in one of its updates.

    Args:
        num_updates: t, the number of updates before this one, at least 1 where it counts.
        momentum: 1 - the decay in a long run.

    Returns:
        1 - min(1 - momentum, (1 + t) / (10 + t)).
    """
    return max(momentum, 9 / (10 + num_updates))
