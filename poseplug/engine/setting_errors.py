"""Errors of mmengine's and torch's own parts, turned into ones that name the setting of the config."""

from __future__ import annotations

__all__ = ['name_setting_errors']

from collections.abc import Iterator
from contextlib import contextmanager

from poseplug.core.errors import ConfigError

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
