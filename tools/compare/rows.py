"""poseplug beside another toolbox: rows that both sides measure in turns, in one run, each in its own interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
REST_SECONDS = 0.3  # between turns, until the threads of the other side sleep


@dataclass(frozen=True)
class Row:
    """What is compared; without `other` and `base` our side alone is measured.

    Attributes:
        name: of the row.
        unit: the times are those of one such unit.
        min_ratio: target of the other's time divided by ours.
        max_ratio: target of our time divided by that of `base`.
        other: the row of the other side.
        base: another row of our side, which takes the place of the other.
        min_seconds: a turn repeats the call until so much time has passed.
        turns: of which the median counts.
        threads: the number of threads.
        clock: 'wall', or 'cpu' for the processor time of one thread, which other processes do not change.
    """

    name: str
    unit: str
    min_ratio: float | None = None
    max_ratio: float | None = None
    other: str | None = None
    base: str | None = None
    min_seconds: float = 0.0
    turns: int = 5
    threads: int = 1
    clock: str = 'wall'

    def with_threads(self, threads: int | None) -> Row:
        """Return the row with a number of threads; None leaves it as it is."""
        if threads is None:
            return self
        return replace(self, threads=threads, clock=self.clock if threads == 1 else 'wall')


def create_shared_row(name: str, unit: str, min_ratio: float | None = None, **settings: Any) -> Row:
    """A row that both sides know by the same name."""
    return Row(name, unit, min_ratio, other=name, **settings)


# What a user would run: prediction uses all cores by default.
CORES = os.cpu_count() or 1
# Short actions, repeated; processor time, which other processes on the machine do not change.
BATCH: dict[str, Any] = dict(min_seconds=0.3, turns=9, clock='cpu')
ROWS = (
    create_shared_row('encode msra', 'instance', 15, **BATCH),
    create_shared_row('encode dark', 'instance', 15, **BATCH),
    create_shared_row('encode udp', 'instance', 15, **BATCH),
    create_shared_row('encode simcc', 'instance', **BATCH),
    create_shared_row('decode dark', 'instance', 20, **BATCH),
    create_shared_row('decode udp', 'instance', 20, **BATCH),
    create_shared_row('decode simcc', 'instance', **BATCH),
    create_shared_row('tags', 'image of 3 instances', 5, **BATCH),
    create_shared_row('oks-nms distinct', '1,000 instances', 50, turns=3, clock='cpu'),
    create_shared_row('oks-nms clustered', '1,000 instances', 50, turns=5, clock='cpu'),
    create_shared_row('loader', 'sample', 2, clock='cpu'),
    Row('loader', 'sample', max_ratio=1.25, base='decode and warp', clock='cpu'),
    Row('loader reduced', 'sample', other='loader', clock='cpu'),
    Row('loader cached', 'sample', other='loader', clock='cpu'),
    Row('loader packed', 'sample', other='loader', clock='cpu'),
    create_shared_row('three boxes', 'instance', 1.3, threads=CORES),
    Row('three boxes, channels first', 'instance', other='three boxes', threads=CORES),
    create_shared_row('64 boxes', 'instance', turns=1, threads=CORES),
    create_shared_row('rtmo network', 'image', 1, turns=9, threads=CORES),
    create_shared_row('rtmo image', 'image', 1.3, turns=9, threads=CORES),
    create_shared_row('simota', '64 instances', 3, **BATCH),
)
IMPORT_MAX_RATIO = 0.4  # of our processor time and the other's


@dataclass
class Result:
    """One measured row.

    Attributes:
        name: of the row.
        unit: of the times.
        ours: our seconds per unit.
        other: the seconds per unit of the other side, or of the base.
        ratio: of the two.
        target: such as '>= 15'.
        reached: whether the ratio reaches the target; None without one.
        details: how it was measured.
    """

    name: str
    unit: str
    ours: float
    other: float | None = None
    ratio: float | None = None
    target: str = ''
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Side:
    """A process that measures the rows of one side on request.

    It runs in this folder: MMPose looks for its data sets' descriptions in `configs` of the current one first.
    """

    def __init__(self, python: str, script: str, data_root: Path):
        # Absolute without following links: the interpreter of a virtual environment is one.
        python = str(Path(python).absolute()) if os.sep in python else python
        self.command = [python, '-W', 'ignore', str(FOLDER / script)]
        pipes: dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER)
        pipes['env'] = {**os.environ, 'OPENBLAS_NUM_THREADS': '1'}  # NumPy's, which `threads` does not reach
        self.process = subprocess.Popen([*self.command, str(data_root)], **pipes)
        self.prepared: dict[str, dict[str, Any]] = {}

    def request_turn(self, row: str, threads: int, min_seconds: float = 0.0, clock: str = 'wall') -> dict[str, Any]:
        """Run one turn; see `turns.run_turn`."""
        message = json.dumps(dict(row=row, threads=threads, min_seconds=min_seconds, clock=clock))
        with contextlib.suppress(BrokenPipeError):
            print(message, file=self.process.stdin, flush=True)
        reply = self.process.stdout.readline() if self.process.stdout else ''
        # The process has ended: its traceback went to the terminal.
        if not reply:
            raise SystemExit(f'{" ".join(self.command)} ended at row {row!r}; its own message is above')
        return json.loads(reply)

    def prepare_row(self, row: str, threads: int) -> dict[str, Any]:
        """Run a row once, untimed, and return its `answer` and `facts`."""
        if row not in self.prepared:
            self.prepared[row] = self.request_turn(row, threads)
        return self.prepared[row]

    def import_times(self) -> tuple[float, float]:
        """Return processor seconds of a fresh interpreter: until this side is imported, and until its end."""
        process = subprocess.Popen([*self.command, 'import'], stdout=subprocess.PIPE, text=True, cwd=FOLDER)
        output = process.stdout.read() if process.stdout else ''
        # The processor time of this one child, of all its threads and to its very end.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f'{" ".join(self.command)} import failed; its own message is above')
        return float(output.split()[-1]), usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def start_sides(python: str, data_root: Path) -> Iterator[tuple[Side, Side]]:
    """Start our side, and MMPose's under `python`."""
    sides = Side(sys.executable, 'poseplug_side.py', data_root), Side(python, 'mmpose_side.py', data_root)
    try:
        yield sides
    finally:
        for side in sides:
            side.close()


def compare_rows(python: str, data_root: Path, prefixes: list[str], threads: int | None = None) -> list[Result]:
    """Measure rows on both sides.

    Args:
        python: the interpreter of the other side.
        data_root: of COCO.
        prefixes: the beginnings of the rows' names; none: all rows.
        threads: replaces the number of threads of every row.
    """
    with start_sides(python, data_root) as (ours, other):
        selected = [row.with_threads(threads) for row in ROWS if matches_prefixes(prefixes, row.name)]
        results = [measure_row(row, ours, other) for row in selected]
        if matches_prefixes(prefixes, 'import'):
            results.append(measure_import(ours, other))
    return results


def list_names() -> list[str]:
    """Return the names of all rows."""
    return list(dict.fromkeys([*(row.name for row in ROWS), 'import']))


def matches_prefixes(prefixes: list[str], name: str) -> bool:
    """Whether a name begins with one of the prefixes; without prefixes every name matches."""
    return not prefixes or any(name.startswith(prefix) for prefix in prefixes)


def measure_row(row: Row, ours: Side, other: Side) -> Result:
    """Measure one row: both sides in turns, and the largest difference of their answers."""
    print(f'{row.name} ...', file=sys.stderr, flush=True)
    competitors = [(ours, row.name)]
    if row.other:
        competitors.append((other, row.other))
    elif row.base:
        competitors.append((ours, row.base))
    replies = [side.prepare_row(name, row.threads) for side, name in competitors]
    times: list[list[float]] = [[] for _ in competitors]
    # In turns, so that what slows the machine for a while slows both.
    for _ in range(row.turns):
        for (side, name), side_times in zip(competitors, times, strict=True):
            time.sleep(REST_SECONDS)
            side_times.append(side.request_turn(name, row.threads, row.min_seconds, row.clock)['seconds'])
    medians = [statistics.median(side_times) for side_times in times]
    details = {'threads': row.threads, 'turns': row.turns, 'clock': row.clock} | replies[0]['facts']
    answers = [reply['answer'] for reply in replies if reply['answer'] is not None]
    # Both sides should have computed the same: a fast wrong answer must be seen.
    if len(answers) == 2:
        details['answers differ by at most'] = compute_difference(*answers)
    if len(competitors) == 1:
        return Result(row.name, row.unit, medians[0], details=details)
    return judge_times(row, medians[0], medians[1], details)


def judge_times(row: Row, ours: float, other: float, details: dict[str, Any]) -> Result:
    """Compute the ratio of two times and compare it with the target of the row."""
    if row.max_ratio is not None:
        ratio, target = ours / other, f'<= {row.max_ratio:g}'
        return Result(row.name, row.unit, ours, other, ratio, target, ratio <= row.max_ratio, details)
    ratio = other / ours
    if row.min_ratio is not None:
        return Result(row.name, row.unit, ours, other, ratio, f'>= {row.min_ratio:g}', ratio >= row.min_ratio, details)
    return Result(row.name, row.unit, ours, other, ratio, details=details)


def compute_difference(answer: list[float], other_answer: list[float]) -> float | str:
    """The largest difference of two answers."""
    if len(answer) != len(other_answer):
        return f'{len(answer)} numbers against {len(other_answer)}'
    return max((abs(a - b) for a, b in zip(answer, other_answer, strict=True)), default=0.0)


def measure_import(ours: Side, other: Side, turns: int = 5) -> Result:
    """Measure the processor time of importing what prediction needs; a first turn, from cold files, does not count."""
    print('import ...', file=sys.stderr, flush=True)
    pairs = [(*ours.import_times(), *other.import_times()) for _ in range(turns + 1)][1:]
    our_import, our_end, other_import, other_end = (statistics.median(times) for times in zip(*pairs, strict=True))
    details = {'turns': turns, "ratio with the interpreter's end": our_end / other_end}
    row = Row('import', 'process (CPU)', max_ratio=IMPORT_MAX_RATIO)
    return judge_times(row, our_import, other_import, details)


def print_table(results: list[Result]) -> None:
    """Print the results as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table('row', 'unit', 'poseplug', 'other', 'ratio', 'target', 'reached', 'details')
    for r in results:
        reached = {True: '[green]yes[/]', False: '[red]no[/]', None: ''}[r.reached]
        ratio = '' if r.ratio is None else f'{r.ratio:.3g}'
        details = ', '.join(f'{k} {v:.3g}' if isinstance(v, float) else f'{k} {v}' for k, v in r.details.items())
        ours, other = format_milliseconds(r.ours), format_milliseconds(r.other)
        table.add_row(r.name, r.unit, ours, other, ratio, r.target, reached, details)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def format_milliseconds(seconds: float | None) -> str:
    """Format seconds as ms; None as an empty text."""
    return '' if seconds is None else f'{seconds * 1e3:.4g} ms'


def to_json(results: list[Result]) -> str:
    """Return the results as JSON."""
    return json.dumps({'rows': [asdict(r) for r in results]}, indent=1) + '\n'
