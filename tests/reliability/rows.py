"""The rows of the table of goals: the target, the result, and how long the measurement took."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

Finding = tuple[str, bool]  # the result as text, and whether it meets the target


@dataclass
class Row:
    """One goal of docs/lab/reliability.md."""

    goal: str
    target: str
    result: str
    ok: bool
    seconds: float


def measure_goal(goal: str, target: str, measure: Callable[[], Finding]) -> Row:
    """Measure a goal; an exception is a result that misses the target."""
    start = time.perf_counter()
    try:
        result, ok = measure()
    except Exception as error:  # the table shows it, and the other goals are measured
        result, ok = f'{type(error).__name__}: {error}', False
    return Row(goal, target, result, ok, round(time.perf_counter() - start, 1))


def print_rows(goals: Mapping[str, tuple[str, Callable[[], Finding]]], description: str | None) -> None:
    """Measure the goals on the command line, or all, and print JSON lines; exit code 1 if one is missed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('goals', nargs='*', help=f'of {", ".join(goals)}; all by default')
    names = parser.parse_args().goals or [*goals]
    if unknown := [name for name in names if name not in goals]:
        parser.error(f'no goal {unknown[0]}; known: {", ".join(goals)}')
    num_missed = 0
    for name in names:
        row = measure_goal(name, *goals[name])
        num_missed += not row.ok
        print(json.dumps(asdict(row)), flush=True)
    raise SystemExit(bool(num_missed))
