"""Checks of the settings of parts: each message has the part, the setting, its value and the allowed range."""

from __future__ import annotations

__all__ = [
    'check_choices',
    'check_colors',
    'check_counts',
    'check_enlargement_lists',
    'check_enlargements',
    'check_finite',
    'check_flags',
    'check_intervals',
    'check_kernel_sizes',
    'check_not_negative',
    'check_number',
    'check_pixel_norm',
    'check_positive',
    'check_positive_lists',
    'check_probabilities',
    'check_sizes',
    'check_thresholds',
]

import math
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from poseplug.core.errors import ConfigError

# No recipe enlarges or shrinks an image by more than about 5: what lies beyond is a percentage, or a wrong setting.
MIN_ENLARGEMENT, MAX_ENLARGEMENT = 0.05, 20.0
# Published curves end at 1 size of the instance at most; what lies far beyond is a percentage, or px.
_MAX_THRESHOLD = 5.0


def setting_error(part: str, name: str, expected: str, value: Any) -> ConfigError:
    """Return the error for a setting that is not what is expected.

    Args:
        part: name of the part, as configs write it.
        name: of the setting.
        expected: what the setting should be, as in 'a positive number'.
        value: what it is.
    """
    return ConfigError(f'{part}: {name} is {expected}; got {value!r}')


def _is_real(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    # bool is a subclass of int: without this, `sigma_px=True` would be 1 px.
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and math.isfinite(value)


def check_number(
    part: str, name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> None:
    """Check that a setting is a finite number within a range.

    Args:
        part: name of the part, for the message.
        name: of the setting.
        value: of the setting.
        low: the smallest value.
        high: the largest value.
        above: whether `low` itself is out of range.
        below: whether `high` itself is out of range.

    Raises:
        ConfigError: it is not.
    """
    # A range that excludes NaN: every comparison with it is false.
    if _is_real(value) and low <= value <= high and not (above and value == low) and not (below and value == high):
        return
    # Words for the range, as the message shows it: 'from 0 to 1', 'above 0 and up to 5', 'from 1 on'.
    first = f'above {low:g} and up' if above else f'from {low:g}'
    last = f' to below {high:g}' if below else f' to {high:g}'
    if math.isinf(high):
        first, last = (f'above {low:g}', '') if above else (f'from {low:g}', ' on')
    raise setting_error(part, name, f'a number {first}{last}', value)


def check_finite(part: str, **settings: Any) -> None:
    """Check that settings are finite numbers.

    Args:
        part: name of the part, for the message.
        settings: the settings by name.

    Raises:
        ConfigError: one of them is not.
    """
    for name, value in settings.items():
        if not _is_real(value):
            raise setting_error(part, name, 'a finite number', value)


def check_positive(part: str, **settings: Any) -> None:
    """Check that settings are positive and finite numbers; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        if not (_is_real(value) and value > 0):
            raise setting_error(part, name, 'a positive number', value)


def check_positive_lists(part: str, **settings: Any) -> None:
    """Check that settings are lists of positive numbers, none empty; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        numbers = _list_values(value)
        if not numbers or not all(_is_real(number) and number > 0 for number in numbers):
            raise setting_error(part, name, 'one positive number or more', value)


def check_thresholds(part: str, **settings: Any) -> None:
    """Check that settings are fractions of a size, each one or several; arguments and error as in `check_finite`.

    Example:
        >>> check_thresholds('PCK', thresholds=(10, 20))
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: PCK: thresholds is one fraction or more, above 0 and up to 5; got (10, 20)
    """
    for name, value in settings.items():
        is_list = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        numbers = _list_values(value) if is_list else [value]
        if not numbers or not all(_is_real(number) and 0 < number <= _MAX_THRESHOLD for number in numbers):
            kind = 'one fraction or more' if is_list else 'a fraction'
            raise setting_error(part, name, f'{kind}, above 0 and up to {_MAX_THRESHOLD:g}', value)


def check_not_negative(part: str, **settings: Any) -> None:
    """Check that settings are finite numbers from 0 on; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        check_number(part, name, value, 0)


def check_probabilities(part: str, **settings: Any) -> None:
    """Check that settings are probabilities or fractions, from 0 to 1; arguments and error as in `check_finite`.

    Example:
        >>> check_probabilities('RandomFlip', prob=50)
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: RandomFlip: prob is a number from 0 to 1; got 50
    """
    for name, value in settings.items():
        check_number(part, name, value, 0, 1)


def check_enlargements(part: str, **settings: Any) -> None:
    """Check that settings are factors that enlarge or shrink; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        check_number(part, name, value, MIN_ENLARGEMENT, MAX_ENLARGEMENT)


def check_enlargement_lists(part: str, **settings: Any) -> None:
    """Check that settings are lists of enlargements, none of them empty; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        numbers = _list_values(value)
        if not numbers:
            raise setting_error(part, name, 'one enlargement or more', value)
        for number in numbers:
            check_enlargements(part, **{name: number})


def check_counts(part: str, min_count: int = 1, **settings: Any) -> None:
    """Check that settings are whole numbers of at least `min_count`.

    Args:
        part: name of the part, for the message.
        min_count: the smallest number.
        settings: the settings by name.

    Raises:
        ConfigError: one of them is not.
    """
    for name, value in settings.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < min_count:
            raise setting_error(part, name, f'a whole number from {min_count} on', value)


def check_flags(part: str, **settings: Any) -> None:
    """Check that settings are True or False; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        if not isinstance(value, bool | np.bool_):
            raise setting_error(part, name, 'True or False', value)


def check_intervals(part: str, low: float, high: float, **settings: Any) -> None:
    """Check that settings are two rising numbers, the first and the last of an interval.

    Args:
        part: name of the part, for the message.
        low: the smallest value of the first.
        high: the largest value of the last.
        settings: the settings by name.

    Raises:
        ConfigError: one of them is not.
    """
    for name, value in settings.items():
        numbers = _list_values(value)
        if len(numbers) != 2 or not all(map(_is_real, numbers)) or not low <= numbers[0] <= numbers[1] <= high:
            expected = f'two numbers from {low:g} to {high:g}, the second not below the first'
            raise setting_error(part, name, expected, value)


def check_kernel_sizes(part: str, **settings: Any) -> None:
    """Check that settings are odd kernel sizes, each one or several; arguments and error as in `check_finite`.

    A kernel has a middle, so its size is odd.
    """
    for name, value in settings.items():
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        sizes = _list_values(value) if is_list else [value]
        if not sizes or not all(isinstance(n, int | np.integer) and n >= 3 and n % 2 for n in sizes):
            expected = 'a list of odd numbers from 3 on' if is_list else 'an odd number from 3 on'
            raise setting_error(part, name, expected, value)


def check_sizes(part: str, **settings: Any) -> None:
    """Check that settings are (width, height) in whole pixels; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        numbers = _list_values(value)
        is_size = len(numbers) == 2 and all(isinstance(n, int | np.integer) and n > 0 for n in numbers)
        if not is_size:
            raise setting_error(part, name, '(width, height) in whole pixels above 0', value)


def check_pixel_norm(part: str, mean: Any, std: Any) -> None:
    """Check the mean and the standard deviation by which pixels of 0 to 255 are normalized.

    Args:
        part: name of the part, for the message.
        mean: three numbers, one per channel.
        std: three numbers, one per channel.

    Raises:
        ConfigError: they are not, a deviation is not positive, or they are those of pixels of 0 to 1.

    Example:
        >>> check_pixel_norm('input_norm', (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: input_norm: mean and std are those of pixels of 0 to 255; got (0.5, 0.5...
    """
    for name, value in (('mean', mean), ('std', std)):
        numbers = _list_values(value)
        if len(numbers) != 3 or not all(map(_is_real, numbers)):
            raise setting_error(part, name, 'one number per channel, 3 in all', value)
    if min(std) <= 0:
        raise setting_error(part, 'std', 'one number above 0 per channel', std)
    # No channel of photographs varies by less than 1 of 255; a mean of a whole 0 or 1 may be meant.
    has_fractions = 0 < max(map(abs, mean)) < 1
    if max(std) < 1 or has_fractions:
        raise ConfigError(
            f'{part}: mean and std are those of pixels of 0 to 255; got {tuple(mean)} and {tuple(std)}: multiply both '
            f'by 255'
        )


def check_colors(part: str, **settings: Any) -> None:
    """Check that settings are colors, three numbers from 0 to 255; arguments and error as in `check_finite`."""
    for name, value in settings.items():
        numbers = _list_values(value)
        is_color = len(numbers) == 3 and all(_is_real(n) and 0 <= n <= 255 for n in numbers)
        # Nearly black, and not in whole steps: a color of 0 to 1.
        if not is_color or (max(numbers) <= 1 and any(n != int(n) for n in numbers)):
            raise setting_error(part, name, 'a color (BGR, 0 to 255)', value)


def check_choices(part: str, settings: Any) -> None:
    """Check the settings whose annotation lists their values, as `Literal['max', 'add']`, alone or with None.

    Args:
        part: name of the part, for the message.
        settings: a dataclass.

    Raises:
        ConfigError: a setting has another value.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Merge:
        ...     mode: Literal['max', 'add']
        >>> check_choices('Merge', Merge('sum'))
        Traceback (most recent call last):
        ...
        poseplug.core.errors.ConfigError: Merge: mode is one of ('max', 'add'); got 'sum'
    """
    for name, choices in _list_choices(type(settings)).items():  # type: ignore[arg-type] # classes are hashable
        if getattr(settings, name) not in choices:
            raise setting_error(part, name, f'one of {choices}', getattr(settings, name))


@cache  # resolving annotations takes longer than all other checks of a part
def _list_choices(settings_class: type) -> dict[str, tuple[Any, ...]]:
    """The values of each field of a dataclass that is annotated by `Literal`, or by that and None."""
    try:
        hints = get_type_hints(settings_class)
    except NameError:  # a part of another package, with a name that only type checkers import
        return {}
    choices = {}
    for name in (field.name for field in fields(settings_class)):
        options = get_args(hints[name]) if get_origin(hints[name]) in (Union, UnionType) else (hints[name],)
        if {get_origin(option) for option in options if option is not NoneType} == {Literal}:
            choices[name] = tuple(v for o in options for v in (get_args(o) if o is not NoneType else (None,)))
    return choices


def _list_values(value: Any) -> Sequence[Any]:
    """Return the values of a sequence; of anything else none."""
    return list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else []
