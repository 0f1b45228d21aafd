"""Progress of long work: a bar with rate and remaining time on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

_T = TypeVar('_T')
_LINE_INTERVAL_S = 30.0  # seconds between lines where there is no terminal


class StderrLogHandler(logging.StreamHandler[TextIO]):
    """Logs to whatever `sys.stderr` is at that moment.

    rich replaces it while a bar is shown, so that log lines appear above the bar.
    """

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Ignored: `StreamHandler` assigns the stream of its construction."""


class ProgressBar:
    """Shows the progress of a loop.

    Args:
        title: what is shown before the numbers.
        total: the number of steps; 0 if it is unknown.
        start: the number of steps that were completed before.
        unit: of a step.

    Attributes:
        completed: the number of completed steps, with `start`.
        note_text: what is shown after the numbers.
    """

    def __init__(self, title: str, total: int, start: int = 0, unit: str = 'it'):
        self.title, self.total, self.completed, self.start, self.unit = title, total, start, start, unit
        self.note_text = ''
        # Monotonic: the wall clock may be set during a run, and a rate would become negative.
        self.start_time = self.last_line_time = time.monotonic()
        self.rich_progress = self._start_rich_progress() if sys.stderr.isatty() else None

    def _start_rich_progress(self) -> Any:
        # Only a terminal needs rich, whose import takes a good part of a second.
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
            console=_create_stderr_console(),
        )
        progress.start()
        self.task_id = progress.add_task(self.title, total=self.total or None, completed=self.completed, note='')
        return progress

    def update(self, steps: int = 1) -> None:
        """Count further steps, and show them if a terminal or the time of a line is there."""
        self.completed += steps
        if self.rich_progress is not None:
            note = f'{self.steps_per_second():.3g} {self.unit}/s  {self.note_text}'
            self.rich_progress.update(self.task_id, completed=self.completed, note=note)
        elif time.monotonic() - self.last_line_time > _LINE_INTERVAL_S:
            self.last_line_time = time.monotonic()
            print(self.format_line(), file=sys.stderr, flush=True)

    def set_note(self, text: str) -> None:
        """Set what is shown after the numbers from the next update on."""
        self.note_text = text

    def steps_per_second(self) -> float:
        """Return the mean rate since the start."""
        return (self.completed - self.start) / max(time.monotonic() - self.start_time, 1e-9)

    def format_line(self) -> str:
        """Return the progress as one line of text."""
        rate = self.steps_per_second()
        note = f', {self.note_text}' if self.note_text else ''
        if not self.total:
            return f'{self.title} {self.completed}, {rate:.3g} {self.unit}/s{note}'
        remaining = f'{format_duration((self.total - self.completed) / rate)} left' if rate else 'rate unknown'
        return f'{self.title} {self.completed}/{self.total}, {rate:.3g} {self.unit}/s, {remaining}{note}'

    def close(self) -> None:
        """Remove the bar, or print the last line where there is no terminal."""
        if self.rich_progress is not None:
            self.rich_progress.stop()
        else:
            print(self.format_line(), file=sys.stderr, flush=True)


def format_duration(seconds: float) -> str:
    """Format a duration in two digits or so: 40 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'


def _create_stderr_console() -> Any:
    # stdout belongs to results, which may be piped into another command.
    from rich.console import Console

    return Console(stderr=True)


def start_progress_bar(title: str, total: int, start: int = 0, unit: str = 'it') -> ProgressBar:
    """Create a bar, which is shown at once; see `ProgressBar`."""
    return ProgressBar(title, total, start, unit)


def track_progress(items: Iterable[_T], title: str, total: int | None = None, unit: str = 'it') -> Iterator[_T]:
    """Yield the items and show the progress.

    Args:
        items: of the loop.
        title: what is shown before the numbers.
        total: the number of items, 0 if it is unknown; None: the length of `items`.
        unit: of an item.
    """
    num_items = len(items) if total is None else total  # type: ignore[arg-type]
    bar = start_progress_bar(title, num_items, unit=unit)
    try:
        for item in items:
            yield item
            bar.update(1)
    finally:
        bar.close()
