"""Settings whose annotations list their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.setting_checks import check_choices

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass
class Settings:
    mode: Literal['max', 'add'] = 'max'
    refine: Literal['none', 'dark'] | None = None
    steps: int | Literal['length'] = 3
    name: str = 'any'
    kind: ClassVar[Literal['a', 'b']] = 'a'


@dataclass
class NarrowSettings(Settings):
    mode: Literal['max'] = 'max'


@dataclass
class UnresolvedSettings:
    mode: Literal['max', 'add'] = 'max'
    scale: Fraction | None = None


@pytest.mark.parametrize('settings', [Settings(), Settings('add', 'dark', 5, 'other'), NarrowSettings(refine=None)])
def test_listed_values_pass(settings):
    check_choices('Part', settings)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (Settings('sum'), r"Part: mode is one of \('max', 'add'\); got 'sum'"),
        (Settings(refine='udp'), r"Part: refine is one of \('none', 'dark', None\); got 'udp'"),
        (NarrowSettings('add'), r"Part: mode is one of \('max',\); got 'add'"),
    ],
)
def test_another_value_is_refused_with_all_values(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_choices('Part', settings)


def test_annotations_that_only_type_checkers_resolve_are_not_judged():
    check_choices('Part', UnresolvedSettings('sum'))
