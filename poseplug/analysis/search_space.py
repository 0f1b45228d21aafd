"""The settings that a search varies, read from a JSON or YAML file, and what Optuna proposes for them."""

from __future__ import annotations

__all__ = ['SearchedSetting', 'read_search_space']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.files.json_file import describe_json_value
from poseplug.files.yaml_file import read_json_or_yaml

_RANGE_KEYS = ('low', 'high', 'step', 'log')


@dataclass(frozen=True)
class SearchedSetting:
    """A setting of the config and the values that are tried for it.

    Attributes:
        key: of the setting, dotted: 'optim_wrapper.optimizer.lr'.
        choices: the values; empty for a range.
        low: the smallest value of a range.
        high: its largest value.
        step: the distance between the values of a range; None for any value, or 1 between two integers.
        log: whether values are drawn evenly over the logarithm.

    Example:
        >>> SearchedSetting('optim_wrapper.optimizer.lr', low=1e-4, high=1e-2, log=True).list_ends()
        [0.0001, 0.01]
        >>> SearchedSetting('model.codec.refine', choices=('quarter', 'dark')).list_ends()
        ['quarter', 'dark']
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether the values of a range are integers."""
        return all(isinstance(value, int) for value in (self.low, self.high))

    def list_ends(self) -> list[Any]:
        """List the values that stand for all in a check: every choice, or both ends of a range."""
        return list(self.choices) or [self.low, self.high]

    def build_distribution(self) -> Any:
        """Build Optuna's distribution of the values."""
        from optuna import distributions

        if self.choices:
            # Optuna stores numbers, strings and None; a list such as a size is proposed by its position
            return distributions.CategoricalDistribution(range(len(self.choices)))
        if self.is_integer:
            step = int(self.step or 1)
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def convert_proposal(self, proposal: Any) -> Any:
        """Convert what Optuna proposes to the value of the setting."""
        return self.choices[proposal] if self.choices else proposal

    def convert_value(self, value: Any) -> Any:
        """Convert a value of the setting to what Optuna proposed for it.

        Raises:
            ConfigError: the value is none of the choices, or outside the range.
        """
        if self.choices:
            if value not in self.choices:
                raise ConfigError(f'{self.key}: {value!r} is none of {list(self.choices)}')
            return self.choices.index(value)
        if not self.low <= value <= self.high:
            raise ConfigError(f'{self.key}: {value!r} is not from {self.low} to {self.high}')
        return value


def read_search_space(file: str | Path) -> list[SearchedSetting]:
    """Read the settings that a search varies.

    The file has one entry per dotted key: a list of values, or a range `{low: 1e-4, high: 1e-2, log: true}`. A range
    of two integers has integers; `step` is the distance between values.

    Args:
        file: in JSON or YAML.

    Returns:
        The settings, in the order of the file.

    Raises:
        ConfigError: the file has no settings, or one is neither values nor a range.
        AnnotationError: the file cannot be read.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / 'space.yaml'
        >>> _ = file.write_text('''
        ... optim_wrapper.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
        ... model.codec.refine: [quarter, dark]
        ... ''')
        >>> [setting.key for setting in read_search_space(file)]
        ['optim_wrapper.optimizer.lr', 'model.codec.refine']
    """
    content = read_json_or_yaml(Path(file))
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f'{file}: settings by dotted key are expected; found {describe_json_value(content)}')
    return [_parse_setting(str(key), values, f'{file}, {key}') for key, values in content.items()]


def _parse_setting(key: str, values: Any, where: str) -> SearchedSetting:
    # A text is a sequence of letters, but one value.
    if isinstance(values, Sequence) and not isinstance(values, str):
        if len(values) < 2:
            raise ConfigError(f'{where}: at least two values are compared; found {len(values)}')
        return SearchedSetting(key, choices=tuple(values))
    if not isinstance(values, Mapping):
        description = describe_json_value(values)
        raise ConfigError(f'{where}: a list of values, or low and high, are expected; found {description}')
    for name in values:
        if name not in _RANGE_KEYS:
            hint = suggest_closest(str(name), _RANGE_KEYS)
            raise ConfigError(
                f'{where}: a range has low, high, step and log; found {name!r}' + (f', {hint}' if hint else '')
            )
    return _parse_range(key, values, where)


def _parse_range(key: str, values: Mapping[str, Any], where: str) -> SearchedSetting:
    low, high = (_parse_number(values.get(name), f'{where}, {name}') for name in ('low', 'high'))
    step = None if values.get('step') is None else _parse_number(values['step'], f'{where}, step')
    log = values.get('log', False)
    if not isinstance(log, bool):
        raise ConfigError(f'{where}: log is true or false; found {log!r}')
    if not low < high:
        raise ConfigError(f'{where}: low is below high; found {low} and {high}')
    # A logarithm needs numbers above 0, and Optuna has no steps on its axis.
    if log and (low <= 0 or step is not None):
        raise ConfigError(f'{where}: a logarithmic range begins above 0 and has no step')
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f'{where}: step is above 0 and at most the range; found {step}')
    return SearchedSetting(key, low=low, high=high, step=step, log=log)


def _parse_number(value: Any, where: str) -> float:
    if isinstance(value, str):
        # YAML 1.1 reads 1e-4 as text: a number in this form needs a dot and a sign
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f'{where}: a number is expected; found {describe_json_value(value)}')
    return value
