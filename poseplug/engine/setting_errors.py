"""Errors of mmengine's and torch's own parts, turned into ones that name the setting of the config."""

from __future__ import annotations

__all__ = ['check_hook_name', 'check_single_average', 'name_setting_errors', 'warn_of_zero_rates']

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mmengine.hooks

from poseplug.core.errors import ConfigError

_LOGGER = logging.getLogger('poseplug')
# They guess from a score's name which direction is better, and write checkpoints that nothing here reads.
_REPLACED_HOOKS = {
    'CheckpointHook': 'default_hooks.checkpoint=dict(interval=..., save_best=...)',
    'EarlyStoppingHook': 'early_stop=dict(metric=..., patience=...)',
}
# What constructors of other packages raise for a wrong value. Others, such as a RuntimeError of the device, are no
# matter of a setting and pass.
_SETTING_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@contextmanager
def name_setting_errors(setting: str) -> Iterator[None]:
    """Raise an error of a part that is built inside as one that names its setting.

    Args:
        setting: the setting in the config and its value, for the message.

    Raises:
        ConfigError: a part of another package refuses its settings.

    Example:
        >>> with name_setting_errors("custom_hooks.0 (LoggerHook)"):
        ...     raise TypeError('interval must be an integer')
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: custom_hooks.0 (LoggerHook): TypeError: interval must be an integer
    """
    try:
        yield
    except _SETTING_ERRORS as error:  # errors of poseplug are none of these
        raise ConfigError(f'{setting}: {type(error).__name__}: {error}') from error


def check_hook_name(name: str) -> None:
    """Refuse a hook of mmengine that poseplug has another one for.

    Args:
        name: of its type.

    Raises:
        ConfigError: there is another one; the message says how to set it.
    """
    if name in _REPLACED_HOOKS:
        raise ConfigError(f'hook {name}: poseplug has its own; set {_REPLACED_HOOKS[name]} instead')


def check_single_average(hooks: Sequence[Any]) -> None:
    """Refuse several averages of weights: a checkpoint holds one, so that the last would replace the others.

    Args:
        hooks: of a run.

    Raises:
        ConfigError: there are several.
    """
    names = [type(hook).__name__ for hook in hooks if isinstance(hook, mmengine.hooks.EMAHook)]
    if len(names) > 1:
        raise ConfigError(f'custom_hooks has a second hook that averages weights, {names[-1]}; leave one of them out')


def warn_of_zero_rates(groups: Iterable[Mapping[str, Any]]) -> None:
    """Log a warning about an optimizer that changes nothing, as for a trial; single groups may have a rate of 0.

    Args:
        groups: of parameters.
    """
    if all(group['lr'] == 0 for group in groups):
        _LOGGER.warning('optim_wrapper.optimizer: with lr=0 no weight ever changes; set a rate above 0')
