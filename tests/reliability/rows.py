"""The rows of the table of goals: what was asked, what was reached, and how long it took."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Finding = tuple[str, bool]  # the figure that was reached, and whether that is what was asked for


@dataclass
class Row:
    """One goal, of docs/reliability.md."""

    goal: str
    asked: str
    reached: str
    ok: bool
    seconds: float


def measured(goal: str, asked: str, measure: Callable[[], Finding]) -> Row:
    """A goal's figure; what it ends in is one, too."""
    begun = time.perf_counter()
    try:
        reached, ok = measure()
    except Exception as error:  # the table shows it, and the other goals are measured
        reached, ok = f'{type(error).__name__}: {error}', False
    return Row(goal, asked, reached, ok, round(time.perf_counter() - begun, 1))


def print_rows(goals: Mapping[str, tuple[str, Callable[[], Finding]]], description: str | None) -> None:
    """Measure the goals that the command line names, or all; a JSON object a line; exit code 1 where one is missed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('goals', nargs='*', help=f'of {", ".join(goals)}; all without')
    names = parser.parse_args().goals or [*goals]
    if unknown := [name for name in names if name not in goals]:
        parser.error(f'no goal {unknown[0]}; known: {", ".join(goals)}')
    missed = 0
    for name in names:
        row = measured(name, *goals[name])
        missed += not row.ok
        print(json.dumps(asdict(row)), flush=True)
    raise SystemExit(bool(missed))
