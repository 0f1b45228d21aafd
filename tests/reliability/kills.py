"""Runs that are killed while they train and while they save (R1, R2 and R10 of docs/reliability.md).

Run: python tests/reliability/kills.py [GOALS...]; KILLED_RUNS, FAULT_POINTS and POINTERS make R1, R2 and R10
shorter.
"""

from __future__ import annotations

import builtins
import functools
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.engine import checkpoint
from poseplug.errors import CheckpointError
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

RUNS, STEPS = 200, 10
WRITING = 0.004  # s that a file and the index take to be written
SETTINGS: dict[str, dict[str, Any]] = {
    'keep 1': dict(keep=1),
    'keep 3': dict(keep=3),
    'save_best': dict(keep=1, best='rising', val=True, val_evaluator=dict(type='RisingScore'), val_interval=2),
}


def config(name: str) -> Any:
    """The run of a setting, saved every 2 steps."""
    settings = dict(SETTINGS[name])
    interval = settings.pop('val_interval', 0)
    return trials.config(steps=STEPS, **settings, **{'train_cfg.val_interval': interval, 'model.flip_test': False})


# --- R1: killed at any moment -----------------------------------------------------------------------------------------


def killed_runs() -> Finding:
    """Runs with 1 to 3 kills each, the settings in turns."""
    trials.warm()
    total = trials.count('KILLED_RUNS', RUNS)
    seen: Counter[str] = Counter()
    with trials.place() as folder:
        wanted = {name: undisturbed(name, folder) for name in SETTINGS}
        for run in range(total):
            name = [*SETTINGS][run % len(SETTINGS)]
            seen += killed_run(name, folder / f'run_{run}', *wanted[name], rng=trials.generator(run))
            if run % 10 == 9:
                print(f'{run + 1} runs: {dict(seen)}', file=sys.stderr, flush=True)
    told = f'{seen["resumed"]} of {total} resumed, {seen["equal"]} of {total} bit-identical; {seen["kills"]} kills '
    told += f'({seen["aimed"]} aimed at saves), {seen["inside"]} inside a write; {seen["begun"]} before the first file'
    told += f'; {seen["lost"]} times nothing or a torn best.pth was left' if seen['lost'] else ''
    enough = total < RUNS or (seen['kills'] >= 350 and seen['inside'] >= 60)
    return told, seen['equal'] == seen['resumed'] == total and not seen['lost'] and enough


def undisturbed(name: str, folder: Path) -> tuple[str, float]:
    """What the run of a setting ends with, and how long its steps take."""
    child = trials.train(config(name), folder / name, act=trials.begins(folder / 'mark'))
    begun = trials.appears(folder / 'mark', child)
    assert child.wait() == 0, child.said
    return trials.digest(folder / name), time.monotonic() - begun


def killed_run(name: str, folder: Path, wanted: str, seconds: float, rng: Any) -> Counter[str]:
    """One run: killed at random moments, of which half are within a save, looked at, resumed to its end."""
    seen: Counter[str] = Counter()
    cfg = config(name)
    for _ in range(rng.choice((1, 2, 2, 3, 3))):
        if rng.random() < 0.5:
            mark = folder.with_suffix('.mark')
            child = trials.train(cfg, folder, act=trials.begins(mark, rng.uniform(0, 0.8)))
            trials.appears(mark, child)
            time.sleep(seconds / STEPS * rng.random())
            child.send(signal.SIGKILL)
        else:
            save, delay = rng.integers(0, 3), rng.uniform(0, WRITING)
            child = trials.train(cfg, folder, act=functools.partial(killed_in_save, save, delay))
            seen['aimed'] += child.wait() == -signal.SIGKILL
        seen['kills'] += child.wait() == -signal.SIGKILL
        seen += left(folder)
    child = trials.ended(cfg, folder)
    if child.code:
        print(child.said, file=sys.stderr)
    seen['resumed'] += child.code == 0
    seen['equal'] += child.code == 0 and trials.digest(folder) == wanted and not [*folder.glob('.*.partial')]
    shutil.rmtree(folder)
    return seen


def killed_in_save(number: int, delay: float) -> None:
    """Have this process killed so many seconds after its `number`-th file (from 0) began to be written."""
    usual, files = checkpoint.write_whole, itertools.count()

    def write(path: Path, content: bytes) -> None:
        if path.suffix == '.pth' and next(files) == number:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        usual(path, content)

    checkpoint.write_whole = write


def left(folder: Path) -> Counter[str]:
    """What a kill left: inside of a save or not, before the first checkpoint, or something that does not load."""
    index = checkpoint.read_index(folder)
    known = [*folder.glob('*.pth')]
    inside = [*folder.glob('.*.partial')] or {f.name for f in known} - set(index.files)
    spoiled = 0
    for file in [folder, *(f for f in known if f.name == 'best.pth')] if index.latest else []:
        try:
            checkpoint.load(file)
        except CheckpointError as error:
            print(error, file=sys.stderr)
            spoiled = 1
    return Counter(inside=bool(inside), begun=not known, lost=spoiled)


# --- R2: killed at every operation of a save --------------------------------------------------------------------------

OPERATIONS = ('open', 'write', 'fsync', 'rename', 'folder fsync', 'index', 'delete old')


class Half:
    """A file that writes half of what it is given first, and asks whether to go on."""

    def __init__(self, file: Any, point: Callable[[str], None]):
        self.file, self.point = file, point

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.point('write')
        self.file.write(content[len(content) // 2 :])

    def __enter__(self) -> Half:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def watched(point: Callable[[str], None]) -> Any:
    """Within this context `point` is called before and after every operation of a save on files, with its name."""
    module: Any = checkpoint
    usual = os.fsync, os.replace, Path.unlink
    state = dict(index=False, renamed=False)

    def called(name: str, operation: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        name = 'index' if state['index'] and name != 'delete old' else name
        point(f'before {name}')
        found = operation(*arguments, **settings)
        point(f'after {name}')
        return found

    def opened(path: Path, mode: str = 'r') -> Any:
        if 'w' not in mode:
            return builtins.open(path, mode)
        state.update(index=checkpoint.INDEX in path.name, renamed=False)
        name = 'index' if state['index'] else 'write'
        return Half(called('open', builtins.open, path, mode), lambda _: point(f'within {name}'))

    def synced(handle: int) -> None:
        called('folder fsync' if state['renamed'] else 'fsync', usual[0], handle)

    def renamed(*names: Path) -> None:
        called('rename', usual[1], *names)
        state['renamed'] = True

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == '.pth':
            called('delete old', usual[2], path, missing_ok=missing_ok)
        else:
            usual[2](path, missing_ok=missing_ok)

    module.open, os.fsync, os.replace, Path.unlink = opened, synced, renamed, unlinked  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del module.open
        os.fsync, os.replace, Path.unlink = usual  # type: ignore[method-assign, assignment]


def fault_points() -> Finding:
    """A run is ended at every point of its third save; what is there then goes on to the same end."""
    trials.warm()
    with trials.place() as folder:
        cfg = trials.config(steps=8, keep=1)
        assert trials.ended(cfg, folder / 'whole').code == 0
        wanted, points = trials.digest(folder / 'whole'), points_of_a_save(folder / 'points')
        every = len(points) // trials.count('FAULT_POINTS', len(points))
        numbers = range(0, len(points), every)
        faults = [points[n] for n in numbers if not goes_on(cfg, folder / str(n), n, wanted)]
    kinds = {point.split(' ', 1)[1] for point in points}
    bad = {point.split(' ', 1)[1] for point in faults}
    order = [p for p in points if p in ('after fsync', 'before rename', 'after folder fsync')]
    right = order == ['after fsync', 'before rename', 'after folder fsync']
    told = (
        f'{len(kinds) - len(bad)} of {len(kinds)} operations, {len(numbers) - len(faults)} of {len(numbers)} points; '
    )
    told += f'fsync {"before" if right else "not before"} every rename' + ''.join(f'; not {p}' for p in faults)
    return told, right and not faults and kinds == set(OPERATIONS)


def points_of_a_save(folder: Path) -> list[str]:
    """The points of a save that replaces an older file."""
    points: list[str] = []
    for step in (1, 2):
        with watched(points.append if step == 2 else lambda _: None):
            checkpoint.save(folder, f'step_{step}.pth', {'state_dict': {}}, step, keep=1)
    return points


def goes_on(cfg: Any, folder: Path, number: int, wanted: str) -> bool:
    """Whether a run that ends without a word at a point of its third save can be resumed, and ends alike."""
    child = trials.ended(cfg, folder, act=functools.partial(die_at, number))
    return child.code == 77 and trials.ended(cfg, folder, resume=True).code == 0 and trials.digest(folder) == wanted


def die_at(number: int, which: int = 3) -> None:
    """Have this process end at the `number`-th point of its `which`-th save."""
    usual, saves = checkpoint.save, iter(range(1, 100))

    def save(*arguments: Any, **settings: Any) -> Path:
        if next(saves) != which:
            return usual(*arguments, **settings)
        points = iter(range(1000))
        with watched(lambda _: os._exit(77) if next(points) == number else None):
            return usual(*arguments, **settings)

    checkpoint.save = save


# --- R10: an index that misleads --------------------------------------------------------------------------------------


def emptied(folder: Path) -> None:
    (folder / checkpoint.INDEX).write_text('')


def garbled(folder: Path) -> None:
    (folder / checkpoint.INDEX).write_text('{"latest": "step_0000')


def dangling(folder: Path) -> None:
    index = json.loads((folder / checkpoint.INDEX).read_text())
    index['latest'] = 'step_0000099.pth'
    index['files']['step_0000099.pth'] = {'bytes': 1, 'sha256': '', 'step': 99}
    (folder / checkpoint.INDEX).write_text(json.dumps(index))


def moved(folder: Path) -> None:
    folder.rename(folder.with_name('elsewhere'))


def torn(folder: Path) -> None:
    newest = max(folder.glob('step_*.pth'))
    newest.write_bytes(newest.read_bytes()[:-9])


def torn_and_unknown(folder: Path) -> None:
    (folder / 'step_0000009.pth').write_bytes(max(folder.glob('step_*.pth')).read_bytes()[:5000])


# Each with the step that the newest whole file is of
POINTERS = {emptied: 6, garbled: 6, dangling: 6, moved: 6, torn: 4, torn_and_unknown: 6}


def bad_pointers() -> Finding:
    """A run of 6 steps whose folder is spoiled goes on to 8."""
    trials.warm()
    with trials.place() as folder:
        short, whole = (
            trials.config(steps=6, keep=3, param_scheduler=None),
            trials.config(steps=8, keep=3, param_scheduler=None),
        )
        assert trials.ended(short, folder / 'short').code == trials.ended(whole, folder / 'whole').code == 0
        wanted, faults = trials.digest(folder / 'whole'), []
        chosen = [*POINTERS.items()][-trials.count('POINTERS', len(POINTERS)) :]
        for spoil, step in chosen:
            one = folder / spoil.__name__ / 'run'
            shutil.copytree(folder / 'short', one)
            spoil(one)
            one = next(one.parent.iterdir())
            child = trials.ended(whole, one, resume=True)
            told = f'step_{step:07d}.pth at step {step} of 8' in child.said
            told &= ('passed over, damaged: step' in child.said) == spoil.__name__.startswith('torn')
            if child.code or trials.digest(one) != wanted or not told:
                faults.append(f'{spoil.__name__}: {child.code}, {child.said[-200:]}')
    good = len(chosen) - len(faults)
    return f'{good} of {len(chosen)}' + ''.join(f'; {f}' for f in faults), not faults


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R1': (
        '200 runs with 1-3 kills: all resumed, all bit-identical; >= 350 kills, >= 60 inside a write',
        killed_runs,
    ),
    'R2': ('ended at each of 7 operations of a save: 7 of 7 go on; fsync before every rename', fault_points),
    'R10': ('6 of 6 spoiled indexes and torn files: the newest whole file is taken, and told', bad_pointers),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
