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
REST = 0.3  # seconds between turns, in which the other side's threads fall asleep


@dataclass(frozen=True)
class Row:
    """What is compared. `other` is the row of the other side, `base` one of ours instead; None is ours alone.

    The ratio is the other's time by ours, and shall be at least `least`; beside a `base` it is ours by the base's, and
    shall be at most `most`. A turn is one call, or as many as are `lasting` so many seconds; the median of `turns`
    counts. The 'cpu' clock, of one thread, does not count what else the machine does meanwhile.
    """

    name: str
    unit: str
    least: float | None = None
    most: float | None = None
    other: str | None = None
    base: str | None = None
    lasting: float = 0.0
    turns: int = 5
    threads: int = 1
    clock: str = 'wall'

    def on(self, threads: int | None) -> Row:
        """The same with so many threads, if any number is given."""
        if threads is None:
            return self
        return replace(self, threads=threads, clock=self.clock if threads == 1 else 'wall')


def both(name: str, unit: str, least: float | None = None, **settings: Any) -> Row:
    """A row that both sides know by the same name."""
    return Row(name, unit, least, other=name, **settings)


CORES = os.cpu_count() or 1
BATCH: dict[str, Any] = dict(lasting=0.3, turns=9, clock='cpu')
ROWS = (
    both('encode msra', 'person', 15, **BATCH),
    both('encode dark', 'person', 15, **BATCH),
    both('encode udp', 'person', 15, **BATCH),
    both('encode simcc', 'person', **BATCH),
    both('decode dark', 'person', 20, **BATCH),
    both('decode udp', 'person', 20, **BATCH),
    both('decode simcc', 'person', **BATCH),
    both('tags', 'picture of 3 people', 5, **BATCH),
    both('oks-nms distinct', '1,000 people', 50, turns=3, clock='cpu'),
    both('oks-nms clustered', '1,000 people', 50, turns=5, clock='cpu'),
    both('loader', 'sample', 2, clock='cpu'),
    Row('loader', 'sample', most=1.25, base='decode and warp', clock='cpu'),
    Row('loader reduced', 'sample', other='loader', clock='cpu'),
    Row('loader kept', 'sample', other='loader', clock='cpu'),
    Row('loader packed', 'sample', other='loader', clock='cpu'),
    both('three boxes', 'person', 1.3, threads=CORES),
    Row('three boxes, channels first', 'person', other='three boxes', threads=CORES),
    both('64 boxes', 'person', turns=1, threads=CORES),
    both('rtmo network', 'picture', 1, turns=9, threads=CORES),
    both('rtmo picture', 'picture', 1.3, turns=9, threads=CORES),
    both('simota', '64 people', 3, **BATCH),
)
IMPORT_MOST = 0.4  # of the other's processor time


@dataclass
class Result:
    """One measured row: seconds a unit, their ratio and the target for it."""

    name: str
    unit: str
    ours: float
    other: float | None = None
    ratio: float | None = None
    target: str = ''
    reached: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Side:
    """A process that measures the rows of one side when asked.

    It runs in this folder: MMPose looks for its data sets' descriptions in `configs` of the current one first.
    """

    def __init__(self, python: str, script: str, root: Path):
        python = str(Path(python).absolute()) if os.sep in python else python
        self.command = [python, '-W', 'ignore', str(FOLDER / script)]
        pipes: dict[str, Any] = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=FOLDER)
        pipes['env'] = {**os.environ, 'OPENBLAS_NUM_THREADS': '1'}  # NumPy's, which `threads` does not reach
        self.process = subprocess.Popen([*self.command, str(root)], **pipes)
        self.prepared: dict[str, dict[str, Any]] = {}

    def ask(self, row: str, threads: int, lasting: float = 0.0, clock: str = 'wall') -> dict[str, Any]:
        request = json.dumps(dict(row=row, threads=threads, lasting=lasting, clock=clock))
        with contextlib.suppress(BrokenPipeError):
            print(request, file=self.process.stdin, flush=True)
        reply = self.process.stdout.readline() if self.process.stdout else ''
        if not reply:
            raise SystemExit(f'{" ".join(self.command)} ended at row {row!r}; its own message is above')
        return json.loads(reply)

    def prepare(self, row: str, threads: int) -> dict[str, Any]:
        """Let a row run once; its `answer` and `facts`."""
        if row not in self.prepared:
            self.prepared[row] = self.ask(row, threads)
        return self.prepared[row]

    def import_times(self) -> tuple[float, float]:
        """Processor seconds of a fresh interpreter: until it has imported what this side needs, and until its end."""
        process = subprocess.Popen([*self.command, 'import'], stdout=subprocess.PIPE, text=True, cwd=FOLDER)
        said = process.stdout.read() if process.stdout else ''
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f'{" ".join(self.command)} import failed; its own message is above')
        return float(said.split()[-1]), used.ru_utime + used.ru_stime

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def sides(python: str, root: Path) -> Iterator[tuple[Side, Side]]:
    """Ours and MMPose's, which runs under `python`."""
    pair = Side(sys.executable, 'poseplug_side.py', root), Side(python, 'mmpose_side.py', root)
    try:
        yield pair
    finally:
        for side in pair:
            side.close()


def compare(python: str, root: Path, wanted: list[str], threads: int | None = None) -> list[Result]:
    """The rows whose name begins with one of `wanted` (all without), measured on the COCO data set in `root`.

    With `threads` every row has so many, instead of its own number.
    """
    with sides(python, root) as (ours, other):
        chosen = [row.on(threads) for row in ROWS if chosen_by(wanted, row.name)]
        results = [measure(row, ours, other) for row in chosen]
        if chosen_by(wanted, 'import'):
            results.append(measure_import(ours, other))
    return results


def names() -> list[str]:
    return list(dict.fromkeys([*(row.name for row in ROWS), 'import']))


def chosen_by(wanted: list[str], name: str) -> bool:
    return not wanted or any(name.startswith(w) for w in wanted)


def measure(row: Row, ours: Side, other: Side) -> Result:
    """One row: both sides in turns, and how far their answers lie apart."""
    print(f'{row.name} ...', file=sys.stderr, flush=True)
    racers = [(ours, row.name)]
    racers += [(other, row.other)] if row.other else [(ours, row.base)] if row.base else []
    replies = [side.prepare(name, row.threads) for side, name in racers]
    times: list[list[float]] = [[] for _ in racers]
    for _ in range(row.turns):
        for (side, name), own in zip(racers, times, strict=True):
            time.sleep(REST)
            own.append(side.ask(name, row.threads, row.lasting, row.clock)['seconds'])
    medians = [statistics.median(t) for t in times]
    details = {'threads': row.threads, 'turns': row.turns, 'clock': row.clock} | replies[0]['facts']
    answers = [r['answer'] for r in replies if r['answer'] is not None]
    if len(answers) == 2:
        details['answers differ by at most'] = difference(*answers)
    if len(racers) == 1:
        return Result(row.name, row.unit, medians[0], details=details)
    return judged(row.name, row.unit, medians[0], medians[1], row.least, row.most, details)


def judged(
    name: str, unit: str, ours: float, other: float, least: float | None, most: float | None, details: dict[str, Any]
) -> Result:
    """The result of a row with a second time: how many times faster (`least`), or which share of it (`most`)."""
    if most is not None:
        return Result(name, unit, ours, other, ours / other, f'<= {most:g}', ours / other <= most, details)
    if least is not None:
        return Result(name, unit, ours, other, other / ours, f'>= {least:g}', other / ours >= least, details)
    return Result(name, unit, ours, other, other / ours, details=details)


def difference(one: list[float], other: list[float]) -> float | str:
    """The largest difference of two answers."""
    if len(one) != len(other):
        return f'{len(one)} numbers against {len(other)}'
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)


def measure_import(ours: Side, other: Side, turns: int = 5) -> Result:
    """Processor time of importing what prediction needs; a first turn, from cold files, is left out."""
    print('import ...', file=sys.stderr, flush=True)
    pairs = [(*ours.import_times(), *other.import_times()) for _ in range(turns + 1)][1:]
    own, own_end, others, others_end = (statistics.median(column) for column in zip(*pairs, strict=True))
    details = {'turns': turns, "ratio with the interpreter's end": own_end / others_end}
    return judged('import', 'process (CPU)', own, others, None, IMPORT_MOST, details)


def show(results: list[Result]) -> None:
    """The table: both times, their ratio, the target."""
    from rich.console import Console
    from rich.table import Table

    table = Table('row', 'a', 'poseplug', 'beside it', 'ratio', 'target', 'reached', 'details')
    for r in results:
        reached = {True: '[green]yes[/]', False: '[red]no[/]', None: ''}[r.reached]
        ratio = '' if r.ratio is None else f'{r.ratio:.3g}'
        details = ', '.join(f'{k} {v:.3g}' if isinstance(v, float) else f'{k} {v}' for k, v in r.details.items())
        table.add_row(r.name, r.unit, readable(r.ours), readable(r.other), ratio, r.target, reached, details)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def readable(seconds: float | None) -> str:
    return '' if seconds is None else f'{seconds * 1e3:.4g} ms'


def as_json(results: list[Result]) -> str:
    return json.dumps({'rows': [asdict(r) for r in results]}, indent=1) + '\n'
