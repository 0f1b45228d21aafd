"""Runs that go on exactly, whatever they do, and long ones (R3, R4, R5, R7 and R12 of docs/reliability.md).

Run: python tests/reliability/resumes.py [GOALS...]; RESUME_CELLS, WORKER_COUNTS, STOPPED_RUNS and LONG_STEPS make R3,
R4, R7 and R12 shorter.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.datasets.dataset import PoseDataset
from poseplug.engine import checkpoint, launch
from poseplug.engine.signals import CODES
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

CELLS = [*itertools.product(('epoch', 'iter'), ('boundary', 'mid-epoch'), (0, 1, 2), ('plain', 'random'))]
CHANCE = ('RandomScaleRotate', 'RandomFlip')
WORKERS = (0, 2, 1, 4)
FAR = 10_000
SAVES = 50  # of the long run


def workers_as_asked() -> None:
    """Have loaders start as many workers as they are told, on few cores, too."""
    launch.cores = lambda: 8


# --- R3: every kind of run --------------------------------------------------------------------------------------------


def cells() -> Finding:
    """24 kinds of runs of 9 steps, 3 an epoch: ended at step 6 without a word, or stopped within the second epoch."""
    trials.warm()
    total = trials.count('RESUME_CELLS', len(CELLS))
    chosen = [CELLS[7 * place % len(CELLS)] for place in range(total)]
    with trials.place() as folder:
        faults = ['/'.join(map(str, cell)) for n, cell in enumerate(chosen) if not cell_is_exact(cell, folder / str(n))]
    return f'{total - len(faults)} of {total} equal by sha256' + ''.join(f'; not {f}' for f in faults), not faults


def cell_is_exact(cell: tuple[str, str, int, str], folder: Path) -> bool:
    loop, moment, workers, kind = cell
    cfg = cell_config(loop, workers, kind)
    whole = trials.ended(cfg, folder / 'whole')
    step, number = (6, signal.SIGKILL) if moment == 'boundary' else (4, signal.SIGTERM)
    leave = trials.acting(before=lambda runner: os.kill(os.getpid(), number) if runner.iter == step else None)
    first = trials.ended(cfg, folder / 'two', act=leave)
    begun = checkpoint.load(folder / 'two')['meta']['step']
    second = trials.ended(cfg, folder / 'two', resume=True)
    leaves = -signal.SIGKILL if moment == 'boundary' else CODES[signal.SIGTERM]
    if (whole.code, first.code, second.code) != (0, leaves, 0) or begun != step + (moment != 'boundary'):
        print(cell, begun, whole.said, first.said, second.said, file=sys.stderr)
        return False
    return trials.digest(folder / 'whole') == trials.digest(folder / 'two')


def cell_config(loop: str, workers: int, kind: str) -> Any:
    """Plain: nothing that draws a number; random: dropout, augmentation, averages and bfloat16."""
    cfg = trials.config(save=1 if loop == 'epoch' else 3, **{'train_dataloader.num_workers': workers})
    cfg.train_cfg = dict(epochs=3) if loop == 'epoch' else dict(steps=9)
    if kind == 'plain':
        dataset = cfg.train_dataloader.dataset
        dataset.pipeline = [t for t in dataset.pipeline if t['type'] not in CHANCE]
        cfg.model.head.first, cfg.custom_hooks = ((1, 16),), None
    else:
        cfg.optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')
    return cfg


# --- R4: any number of workers ----------------------------------------------------------------------------------------


def worker_counts() -> Finding:
    """What is trained on, and what comes of it, with 0, 1, 2 and 4 workers."""
    trials.warm()
    with trials.place() as folder:
        ends: dict[int, tuple[str, str]] = {}
        for workers in WORKERS[: trials.count('WORKER_COUNTS', len(WORKERS))]:
            one = folder / str(workers)
            cfg = trials.config(steps=8, **{'train_dataloader.num_workers': workers})
            child = trials.ended(cfg, one, act=functools.partial(noted_batches, one.with_suffix('.batches')))
            assert child.code == 0, child.said
            ends[workers] = trials.digest(one), one.with_suffix('.batches').read_text()
    differ = [w for w in ends if ends[w] != ends[0]]
    assert len(ends[0][1].split()) == 8
    told = f'{len(ends) - len(differ)} of {len(ends)} numbers of workers: equal batches and weights'
    return told + ''.join(f'; not with {w}' for w in differ), not differ


def noted_batches(file: Path) -> None:
    """Have this process add a hash of every batch that it trains on to a file."""

    def note(runner: Any) -> None:
        with open(file, 'a') as out:
            for batch in runner.train_loop.taken:
                found = hashlib.sha256()
                trials.feed(found, [value for value in vars(batch).values() if hasattr(value, 'dtype')])
                out.write(found.hexdigest() + '\n')

    workers_as_asked()
    trials.acting(after=note)()


# --- R5: what was trained on is not read again ------------------------------------------------------------------------


def far_resume() -> Finding:
    """A run of one step is told that it is at step 10,000, and goes on for one."""
    trials.warm()
    with trials.place() as folder:
        cfg = trials.config(steps=FAR + 1, save=FAR, param_scheduler=None)
        first = noted_start(cfg, folder / 'first', folder / 'first.json')
        content = checkpoint.load(folder / 'first')
        content['meta']['step'] = FAR
        checkpoint.save(folder / 'far', f'step_{FAR:07d}.pth', content, FAR)
        later = noted_start(cfg, folder / 'far', folder / 'far.json')
    size = cfg.train_dataloader.batch_size
    more = later['seconds'] - first['seconds']
    told = f'{later["decoded"] - size} skipped samples decoded; the first step begins {max(more, 0):.2f} s later'
    return told, later['decoded'] == first['decoded'] == size and more < 1 and later['step'] == FAR


def noted_start(cfg: Any, folder: Path, file: Path) -> dict[str, Any]:
    """What a run had decoded, and how long it had taken, when its first step began; it is stopped after that."""
    child = trials.ended(cfg, folder, act=functools.partial(note_start, file))
    assert child.code == CODES[signal.SIGTERM], child.said
    return json.loads(file.read_text())


def note_start(file: Path) -> None:
    begun, usual, decoded = time.monotonic(), PoseDataset.raw, itertools.count()

    def raw(dataset: Any, draw: Any) -> Any:
        next(decoded)
        return usual(dataset, draw)

    def note(runner: Any) -> None:
        seconds = time.monotonic() - begun
        file.write_text(json.dumps({'decoded': next(decoded), 'seconds': seconds, 'step': runner.iter}))
        os.kill(os.getpid(), signal.SIGTERM)

    PoseDataset.raw = raw  # type: ignore[method-assign]
    trials.acting(begin=note)()


# --- R7: signals ------------------------------------------------------------------------------------------------------


def stopped_runs() -> Finding:
    """SIGTERM and SIGUSR1 in turns, at random moments of training and evaluation; then twice within a long step."""
    trials.warm()
    total = trials.count('STOPPED_RUNS', 20)
    cfg = trials.config(val=True, **{'train_cfg.val_interval': 5})
    with trials.place() as folder:
        mark = folder / 'mark'
        child = trials.train(cfg, folder / 'whole', act=trials.begins(mark))
        begun = trials.appears(mark, child)
        assert child.wait() == 0, child.said
        whole, wanted, slowest, faults = time.monotonic() - begun, trials.digest(folder / 'whole'), 0.0, []
        for run in range(total):
            number = (signal.SIGTERM, signal.SIGUSR1)[run % 2]
            delay = whole * trials.generator(run).uniform(0, 0.6)
            seconds, fault = stopped_run(cfg, folder / str(run), number, delay, wanted)
            slowest, faults = max(slowest, seconds), faults + [fault] * bool(fault)
        at_once = stopped_twice(folder / 'twice')
    told = (
        f'{total - len(faults)} of {total} saved, left with 143 or 85, and went on exactly; slowest {slowest:.1f} s; '
    )
    told += f'a second signal ends it in {at_once:.2f} s' + ''.join(f'; {f}' for f in faults)
    return told, not faults and slowest < 5 and at_once < 1


def stopped_run(cfg: Any, folder: Path, number: int, delay: float, wanted: str) -> tuple[float, str]:
    """How long a run took to leave, and what was wrong with that."""
    child = trials.train(cfg, folder, act=trials.begins(folder.with_suffix('.mark')))
    trials.appears(folder.with_suffix('.mark'), child)
    time.sleep(delay)
    child.send(number)
    sent = time.monotonic()
    code, seconds = child.wait(), time.monotonic() - sent
    if code != CODES[signal.Signals(number)]:
        return seconds, f'{signal.Signals(number).name} after {delay:.2f} s: code {code}'
    if trials.ended(cfg, folder, resume=True).code or trials.digest(folder) != wanted:
        return seconds, f'{signal.Signals(number).name} after {delay:.2f} s: another end'
    return seconds, ''


def stopped_twice(folder: Path) -> float:
    """How long after the second signal a run ends whose step takes long; infinite where the first one ended it."""
    mark = folder.with_suffix('.mark')

    def slow(runner: Any) -> None:
        mark.touch()
        time.sleep(20)

    child = trials.train(trials.config(), folder, act=trials.acting(begin=slow))
    trials.appears(mark, child)
    time.sleep(0.1)
    child.send(signal.SIGTERM)
    time.sleep(0.3)
    alone = not child.ended()
    child.send(signal.SIGTERM)
    sent = time.monotonic()
    return time.monotonic() - sent if child.wait() == -signal.SIGTERM and alone else float('inf')


# --- R12: a long run --------------------------------------------------------------------------------------------------


def long_run() -> Finding:
    """5,000 steps with 50 saves, evaluations and best scores; memory and files at a tenth of the way and at the end."""
    trials.warm()
    steps = trials.count('LONG_STEPS', 5000)
    save = max(1, steps // SAVES)
    cfg = trials.config(
        val=True, steps=steps, save=save, keep=3, best='rising', val_evaluator=dict(type='RisingScore'),
        param_scheduler=None, **{'train_cfg.val_interval': save},
    )  # fmt: skip
    with trials.place() as folder:
        file = folder / 'states'
        child = trials.ended(cfg, folder / 'run', act=functools.partial(note_state, file, steps))
        assert child.code == 0, child.said
        first, last = map(json.loads, file.read_text().splitlines())
        held = {f.name for f in (folder / 'run').iterdir() if f.is_file()}
    wanted = {'best.pth', checkpoint.INDEX, 'curve.jsonl', trials.CONFIG.name}
    wanted |= {f'step_{steps - save * n:07d}.pth' for n in range(3)}
    growth, files = (last['memory'] - first['memory']) / 1e6, last['files'] - first['files']
    told = f'{steps:,} steps, {steps // save} saves: {growth:+.1f} MB, {files:+d} open files; folder '
    told += 'exact' if held == wanted else f'differs: {sorted(held ^ wanted)}'
    return told, growth < 20 and files <= 0 and held == wanted


def note_state(file: Path, steps: int) -> None:
    """Have this process tell its memory and open files at a tenth of its run and at the end."""

    def note(runner: Any) -> None:
        if runner.iter + 1 in (max(1, steps // 10), steps):
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            state = {'memory': pages * os.sysconf('SC_PAGE_SIZE'), 'files': len(os.listdir('/proc/self/fd'))}
            with open(file, 'a') as out:
                out.write(json.dumps(state) + '\n')

    trials.acting(after=note)()


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R3': ('24 of 24 kinds of runs, resumed, equal by sha256', cells),
    'R4': ('0, 1, 2 and 4 workers: equal batches, equal weights', worker_counts),
    'R5': ('resume at step 10,000: 0 skipped samples decoded, < 1 s later', far_resume),
    'R7': (
        'SIGTERM 143, SIGUSR1 85: saved in 5 s, 20 of 20 moments go on exactly; a second one at once', stopped_runs,
    ),
    'R12': ('5,000 steps, 50 saves: < 20 MB more, no more open files, the folder exact', long_run),
}  # fmt: skip

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
