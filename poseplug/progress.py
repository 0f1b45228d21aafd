"""Progress of long work: a bar with rate and remaining time on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

T = TypeVar('T')
EVERY = 30.0  # seconds between lines where there is no terminal


class ScreenHandler(logging.StreamHandler):
    """Log lines to stderr as it is at that moment, so that a bar there moves out of their way."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """`StreamHandler` sets it once; what counts is asked for anew."""


class Bar:
    """Counts up to `total` (0: nobody knows) from `start`; `note` is shown at its end."""

    def __init__(self, title: str, total: int, start: int = 0, unit: str = 'it'):
        self.title, self.total, self.done, self.first, self.unit = title, total, start, start, unit
        self.text = ''
        self.begun = self.told = time.monotonic()
        self.rich = self._rich() if sys.stderr.isatty() else None

    def _rich(self) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn('left'),
            Remaining(),
            TextColumn('{task.fields[note]}'),
            console=_console(),
        )
        progress.start()
        self.task = progress.add_task(self.title, total=self.total or None, completed=self.done, note='')
        return progress

    def update(self, steps: int = 1) -> None:
        self.done += steps
        if self.rich is not None:
            self.rich.update(self.task, completed=self.done, note=f'{self.rate():.3g} {self.unit}/s  {self.text}')
        elif time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        self.text = text

    def rate(self) -> float:
        """Steps per second since the beginning."""
        return (self.done - self.first) / max(time.monotonic() - self.begun, 1e-9)

    def line(self) -> str:
        """Where the work stands, in one line."""
        rate = self.rate()
        note = f', {self.text}' if self.text else ''
        if not self.total:
            return f'{self.title} {self.done}, {rate:.3g} {self.unit}/s{note}'
        left = f'{duration((self.total - self.done) / rate)} left' if rate else 'rate unknown'
        return f'{self.title} {self.done}/{self.total}, {rate:.3g} {self.unit}/s, {left}{note}'

    def close(self) -> None:
        if self.rich is not None:
            self.rich.stop()
        else:
            print(self.line(), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """As a person says it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def bar(title: str, total: int, start: int = 0, unit: str = 'it') -> Bar:
    """A bar that has begun."""
    return Bar(title, total, start, unit)


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = 'it') -> Iterator[T]:
    """The items in turn, with a bar."""
    shown = bar(description, len(items) if total is None else total, unit=unit)  # type: ignore[arg-type]
    try:
        for item in items:
            yield item
            shown.update(1)
    finally:
        shown.close()
