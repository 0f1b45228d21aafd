"""Reports schedules and intervals that do not fit into a run: they would never have an effect, or end too late."""

from __future__ import annotations

__all__ = ['find_run_length_problems']

from collections.abc import Sequence
from typing import Any

_UNBOUNDED = 10**8  # mmengine's schedules without an end have a larger one


def find_run_length_problems(
    schedules: Sequence[Any], max_iters: int, steps_per_epoch: int, val_interval: int = 0
) -> list[str]:
    """Find the schedules and intervals of a run that reach beyond its end.

    Args:
        schedules: mmengine's, built.
        max_iters: the number of steps of the run.
        steps_per_epoch: of the run.
        val_interval: the number of steps between evaluations; 0 for none.

    Returns:
        A sentence for each problem.
    """
    problems = []
    for index, schedule in enumerate(schedules):
        unit = steps_per_epoch if schedule.by_epoch else 1
        name = f'param_scheduler.{index} ({type(schedule).__name__})'
        problems += _find_schedule_problems(name, schedule, unit, max_iters)
    if val_interval > max_iters:
        problems.append(
            f'train_cfg.val_interval is {val_interval} steps, more than the run has: it is evaluated at its end alone'
        )
    return problems


def _find_schedule_problems(name: str, schedule: Any, unit: int, max_iters: int) -> list[str]:
    """The problems of one schedule, whose numbers count `unit` steps each."""
    begin, end = schedule.begin * unit, schedule.end * unit
    if begin >= max_iters:
        return [f'{name} begins at step {begin} and has no effect']
    # mmengine counts milestones from the begin of their schedule
    late = [m * unit for m in _list_milestones(schedule) if begin + m * unit >= max_iters]
    if late:
        return [f'{name} changes the rate at steps {", ".join(map(str, late))}, which are not reached']
    if schedule.end < _UNBOUNDED and end > max_iters:
        num_steps = max_iters - begin
        return [f'{name} ends at step {end}, so that only {num_steps} of its {end - begin} steps take place']
    return []


def _list_milestones(schedule: Any) -> list[int]:
    """The steps or epochs at which a schedule changes the rate at once; those of a regular one up to the first."""
    milestones = getattr(schedule, 'milestones', None)
    if milestones is not None:
        return sorted(milestones)
    step_size = getattr(schedule, 'step_size', None)
    # a regular schedule that takes no step at all is a mistake; one that ends between two steps is none
    return [step_size] if isinstance(step_size, int) else []
