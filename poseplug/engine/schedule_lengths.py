"""Schedules whose numbers are fractions of a run, so that they follow its length."""

from __future__ import annotations

__all__ = ['check_schedule_numbers', 'fraction_to_steps', 'resolve_schedule_lengths']

from collections.abc import Mapping, Sequence
from typing import Any

from poseplug.config.run_options import TIME_SETTINGS
from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_finite, check_positive, setting_error

_POSITIVE_LENGTHS = ('T_max', 'step_size', 'total_steps', 'epoch_length')
_SCHEDULE_NUMBERS = (
    *_POSITIVE_LENGTHS, 'begin', 'end', 'max_fraction', 'gamma', 'factor', 'power', 'start_factor', 'end_factor',
    'eta_min', 'eta_min_ratio', 'eta_max', 'div_factor', 'final_div_factor', 'pct_start', 'patience', 'threshold',
    'cooldown', 'min_value',
)  # fmt: skip
_MIN_WARM_UP_STEPS = 2  # in a single one, mmengine's linear warm-up would stay at its first factor


def fraction_to_steps(value: float, max_iters: int, unit: int = 1, name: str = 'a length') -> int:
    """Return a length in steps.

    Args:
        value: a float is a fraction of the run, from 0 to 1; a whole number counts `unit` steps each.
        max_iters: number of steps of the run.
        unit: number of steps that a whole number counts, as those of an epoch.
        name: of the setting, for the message.

    Raises:
        ConfigError: a fraction is not between 0 and 1.

    Example:
        >>> fraction_to_steps(0.25, max_iters=1000), fraction_to_steps(3, max_iters=1000, unit=50)
        (250, 150)
    """
    # 1 is one step or epoch, 1.0 the whole run
    if not isinstance(value, float):
        return value * unit
    if not 0 <= value <= 1:
        raise ConfigError(
            f'{name}={value!r}: a number with a point is a fraction of the run, from 0 to 1; write a whole number of '
            f'steps or epochs without one'
        )
    return round(value * max_iters)


def check_schedule_numbers(spec: Mapping[str, Any], name: str) -> None:
    """Check the numbers of a schedule: mmengine looks at most of them when they are used, or never.

    Args:
        spec: the settings of the schedule.
        name: of the setting, for messages.

    Raises:
        ConfigError: a number is none, or a length is not positive.

    Example:
        >>> check_schedule_numbers(dict(type='CosineAnnealingLR', T_max=-1), 'param_scheduler.0')
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: param_scheduler.0: T_max is a positive number; got -1
    """
    numbers = {key: spec[key] for key in _SCHEDULE_NUMBERS if spec.get(key) is not None}
    check_finite(name, **{key: value for key, value in numbers.items() if key not in _POSITIVE_LENGTHS})
    check_positive(name, **{key: value for key, value in numbers.items() if key in _POSITIVE_LENGTHS})
    milestones = spec.get('milestones')
    if milestones is None:
        return
    is_list = isinstance(milestones, Sequence) and not isinstance(milestones, str)
    if not is_list or not all(type(value) in (int, float) and value >= 0 for value in milestones):
        raise setting_error(name, 'milestones', 'a list of steps or epochs', milestones)


def resolve_schedule_lengths(
    spec: Mapping[str, Any], max_iters: int, steps_per_epoch: int, name: str = 'param_scheduler'
) -> dict[str, Any]:
    """Return the settings of a schedule with every fraction of the run as a number of steps.

    A schedule without fractions stays as it is. Otherwise it counts in steps; its whole numbers are epochs unless
    `by_epoch=False`, as in mmengine. `max_fraction`, of a warm-up with a whole number as its end, is the fraction of
    the run that it takes at most.

    Args:
        spec: the settings of mmengine's schedule.
        max_iters: number of steps of the run.
        steps_per_epoch: of the run.
        name: of the setting, for messages.

    Raises:
        ConfigError: a fraction is not between 0 and 1.

    Example:
        >>> resolve_schedule_lengths(dict(type='MultiStepLR', milestones=[0.5, 0.75]), 200, steps_per_epoch=10)
        {'type': 'MultiStepLR', 'milestones': [100, 150], 'by_epoch': False}
    """
    settings = dict(spec)
    max_fraction = settings.pop('max_fraction', None)
    times = {key: settings[key] for key in TIME_SETTINGS if settings.get(key) is not None}
    if max_fraction is None and not any(_has_fraction(value) for value in times.values()):
        return settings
    # mmengine's default is True
    unit = steps_per_epoch if settings.get('by_epoch', True) else 1
    # mmengine converts schedules of epochs alone, and this one counts steps from here
    for key in ('convert_to_iter_based', 'epoch_length'):
        settings.pop(key, None)
    settings['by_epoch'] = False
    for key, value in times.items():
        title = f'{name}.{key}'
        listed = value if isinstance(value, list | tuple) else [value]
        steps = [fraction_to_steps(item, max_iters, unit, title) for item in listed]
        settings[key] = steps if isinstance(value, list | tuple) else steps[0]
    if 'end' in times:
        settings['end'] = _limit_end(settings, max_fraction, max_iters, f'{name}.max_fraction')
    # the schedules divide by these, and a fraction of a very short run rounds to 0
    for key in ('T_max', 'step_size', 'total_steps'):
        if key in times:
            settings[key] = max(1, settings[key])
    return settings


def _has_fraction(value: Any) -> bool:
    listed = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, float) for item in listed)


def _limit_end(settings: Mapping[str, Any], max_fraction: float | None, max_iters: int, name: str) -> int:
    """The end of a schedule in steps: after its begin, and not beyond the fraction of the run that it may take."""
    begin = settings.get('begin', 0)
    end: int = settings['end']
    if max_fraction is not None:
        end = min(end, begin + fraction_to_steps(float(max_fraction), max_iters, name=name))
    return max(end, begin + _MIN_WARM_UP_STEPS)
