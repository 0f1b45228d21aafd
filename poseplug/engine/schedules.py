"""Learning-rate schedules that mmengine lacks; configs name them like mmengine's own."""

from __future__ import annotations

__all__ = ['QuadraticWarmupLR', 'check_plateau_schedules']

from collections.abc import Sequence
from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from poseplug.core.errors import ConfigError
from poseplug.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class QuadraticWarmupLR(LRSchedulerMixin, _ParamScheduler):
    """Quadratic warm-up: the learning rate rises with the square of the steps (Ge et al. 2021, arXiv:2107.08430).

    Args:
        optimizer: the optimizer or its wrapper; the runner provides it.
        begin: the first step, or epoch, of the warm-up.
        end: the step, or epoch, from which on the full learning rate holds.
        settings: those of mmengine's schedules, such as `by_epoch` and `convert_to_iter_based`.

    Raises:
        ConfigError: `end` is missing or not after `begin`.
    """

    def __init__(self, optimizer: Any, *args: Any, begin: int = 0, end: int = INF, **settings: Any):
        # INF is mmengine's default for a schedule without an end
        if not 0 <= begin < end < INF:
            raise ConfigError(
                f'QuadraticWarmupLR: begin must be at least 0 and below end, and end finite; got {begin} and {end}'
            )
        self.total_iters = end - begin
        super().__init__(optimizer, *args, begin=begin, end=end, **settings)

    @classmethod
    def build_iter_from_epoch(
        cls, *args: Any, begin: int = 0, end: int = INF, by_epoch: bool = True, epoch_length: int = 1, **settings: Any
    ) -> QuadraticWarmupLR:
        """Build the schedule in steps from `begin` and `end` in epochs; mmengine calls this by name."""
        return cls(*args, begin=begin * epoch_length, end=end * epoch_length, by_epoch=False, **settings)

    def _get_value(self) -> list[float]:
        """The learning rate of every parameter group at the current step."""
        fraction = (self.last_step + 1) / self.total_iters  # + 1: the first step already learns a little
        return [value * min(fraction, 1.0) ** 2 for value in self.base_values]


def check_plateau_schedules(schedules: Sequence[Any], val_loop: Any) -> None:
    """Check that the schedules that follow a score, such as ReduceOnPlateauLR, will see it, and know what is better.

    Args:
        schedules: of the run.
        val_loop: evaluates it, see `poseplug.engine.eval_loop.EvalLoop`; None if it is not evaluated.

    Raises:
        ConfigError: nothing is evaluated, no score has that name, or `rule` means the other direction.
    """
    for schedule in schedules:
        # mmengine marks by it the schedules that are stepped by scores
        if not getattr(schedule, 'need_val_args', False):
            continue
        name, score = f'param_scheduler, {type(schedule).__name__}', schedule.monitor
        if val_loop is None:
            raise ConfigError(f'{name} follows {score!r}, but nothing is evaluated; set val_dataloader')
        is_lower_better = val_loop.check_score(score, name)
        if is_lower_better is not None and is_lower_better != (schedule.rule == 'less'):
            direction, rule = ('lower', 'less') if is_lower_better else ('higher', 'greater')
            raise ConfigError(f"{name}: a {direction} {score} is better, but rule={schedule.rule!r}; set rule='{rule}'")
