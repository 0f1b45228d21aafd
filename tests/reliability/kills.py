"""Runs that are killed while they train and while they save (R1, R2 and R10 of docs/lab/reliability.md).

Run: python tests/reliability/kills.py [GOALS...]; KILLED_RUNS, FAULT_POINTS and POINTERS shorten R1, R2 and R10.
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
from poseplug.core.errors import CheckpointError
from poseplug.engine import checkpoint
from poseplug.files import atomic
from poseplug.files.checkpoint_folder import CHECKPOINT_INDEX_FILE, read_checkpoint_index
from poseplug.files.weights import load_checkpoint
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

NUM_RUNS, NUM_STEPS = 200, 10
WRITE_SECONDS = 0.004  # what writing a file and the index takes
SETTINGS: dict[str, dict[str, Any]] = {
    'keep 1': dict(max_keep_ckpts=1),
    'keep 3': dict(max_keep_ckpts=3),
    'save_best': dict(
        max_keep_ckpts=1, save_best='rising', val=True, val_evaluator=dict(type='RisingScore'), val_interval=2
    ),
}


def build_config(name: str) -> Any:
    """The config of a setting, saved every 2 steps."""
    settings = dict(SETTINGS[name])
    interval = settings.pop('val_interval', 0)
    overrides = {'train_cfg.val_interval': interval, 'model.flip_test': False}
    return trials.build_config(max_steps=NUM_STEPS, **settings, **overrides)


# --- R1: killed at any moment -----------------------------------------------------------------------------------------


def measure_killed_runs() -> Finding:
    """Run with 1 to 3 kills each, the settings in turn."""
    trials.warm_up()
    total = trials.get_count('KILLED_RUNS', NUM_RUNS)
    counts: Counter[str] = Counter()
    with trials.temporary_folder() as folder:
        undisturbed = {name: run_undisturbed(name, folder) for name in SETTINGS}
        for run in range(total):
            name = [*SETTINGS][run % len(SETTINGS)]
            counts += kill_and_resume(name, folder / f'run_{run}', *undisturbed[name], rng=trials.create_rng(run))
            if run % 10 == 9:
                print(f'{run + 1} runs: {dict(counts)}', file=sys.stderr, flush=True)
    result = f'{counts["resumed"]} of {total} resumed, {counts["equal"]} of {total} bit-identical; '
    result += f'{counts["kills"]} kills ({counts["aimed"]} aimed at saves), {counts["inside"]} inside a write; '
    result += f'{counts["before_first"]} before the first file'
    if counts['lost']:
        result += f'; {counts["lost"]} times nothing or a damaged best.pth was left'
    is_complete = total < NUM_RUNS or (counts['kills'] >= 350 and counts['inside'] >= 60)
    return result, counts['equal'] == counts['resumed'] == total and not counts['lost'] and is_complete


def run_undisturbed(name: str, folder: Path) -> tuple[str, float]:
    """The hash that the run of a setting ends with, and the seconds that its steps take."""
    child = trials.start_training(build_config(name), folder / name, setup=trials.touch_at_fraction(folder / 'mark'))
    start = trials.wait_for_file(folder / 'mark', child)
    assert child.wait() == 0, child.output
    return trials.hash_checkpoint(folder / name), time.monotonic() - start


def kill_and_resume(name: str, folder: Path, expected_hash: str, seconds: float, rng: Any) -> Counter[str]:
    """One run: killed at random moments, half of them within a save, inspected after each, resumed to its end."""
    counts: Counter[str] = Counter()
    cfg = build_config(name)
    for _ in range(rng.choice((1, 2, 2, 3, 3))):
        if rng.random() < 0.5:
            mark = folder.with_suffix('.mark')
            child = trials.start_training(cfg, folder, setup=trials.touch_at_fraction(mark, rng.uniform(0, 0.8)))
            trials.wait_for_file(mark, child)
            time.sleep(seconds / NUM_STEPS * rng.random())
            child.send(signal.SIGKILL)
        else:
            save, delay = rng.integers(0, 3), rng.uniform(0, WRITE_SECONDS)
            child = trials.start_training(cfg, folder, setup=functools.partial(kill_in_save, save, delay))
            counts['aimed'] += child.wait() == -signal.SIGKILL
        counts['kills'] += child.wait() == -signal.SIGKILL
        counts += inspect_folder(folder)
    child = trials.run_training(cfg, folder)
    if child.code:
        print(child.output, file=sys.stderr)
    has_equal_end = child.code == 0 and trials.hash_checkpoint(folder) == expected_hash
    counts['resumed'] += child.code == 0
    counts['equal'] += has_equal_end and not [*folder.glob('.*.partial')]
    shutil.rmtree(folder)
    return counts


def kill_in_save(number: int, delay: float) -> None:
    """Let this process be killed `delay` seconds after it began to write its `number`-th file (from 0)."""
    original, files = checkpoint.write_atomically, itertools.count()

    def write(path: Path, content: bytes) -> None:
        if path.suffix == '.pth' and next(files) == number:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        original(path, content)

    checkpoint.write_atomically = write


def inspect_folder(folder: Path) -> Counter[str]:
    """What a kill left: a save in progress, no checkpoint yet, or something that does not load."""
    index = read_checkpoint_index(folder)
    files = [*folder.glob('*.pth')]
    unfinished = [*folder.glob('.*.partial')] or {f.name for f in files} - set(index.files)
    lost = 0
    for file in [folder, *(f for f in files if f.name == 'best.pth')] if index.latest else []:
        try:
            load_checkpoint(file)
        except CheckpointError as error:
            print(error, file=sys.stderr)
            lost = 1
    return Counter(inside=bool(unfinished), before_first=not files, lost=lost)


# --- R2: killed at every operation of a save --------------------------------------------------------------------------

OPERATIONS = ('open', 'write', 'fsync', 'rename', 'folder fsync', 'index', 'delete old')


class HalfWritingFile:
    """A file that writes the first half of its content, calls `reach_point`, and writes the second half."""

    def __init__(self, file: Any, reach_point: Callable[[str], None]):
        self.file, self.reach_point = file, reach_point

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.reach_point('write')
        self.file.write(content[len(content) // 2 :])

    def __enter__(self) -> HalfWritingFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def watch_file_operations(reach_point: Callable[[str], None]) -> Any:
    """Call `reach_point` with a name before and after every file operation of a save within the context."""
    module: Any = atomic  # whose files are opened by the name `open`
    original = os.fsync, os.replace, Path.unlink
    state = dict(index=False, renamed=False)

    def call(name: str, operation: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        name = 'index' if state['index'] and name != 'delete old' else name
        reach_point(f'before {name}')
        returned = operation(*arguments, **settings)
        reach_point(f'after {name}')
        return returned

    def open_file(path: Path, mode: str = 'r') -> Any:
        if 'w' not in mode:
            return builtins.open(path, mode)
        state.update(index=CHECKPOINT_INDEX_FILE in path.name, renamed=False)
        name = 'index' if state['index'] else 'write'
        return HalfWritingFile(call('open', builtins.open, path, mode), lambda _: reach_point(f'within {name}'))

    def sync_file(handle: int) -> None:
        call('folder fsync' if state['renamed'] else 'fsync', original[0], handle)

    def rename_file(*names: Path) -> None:
        call('rename', original[1], *names)
        state['renamed'] = True

    def unlink_file(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == '.pth':
            call('delete old', original[2], path, missing_ok=missing_ok)
        else:
            original[2](path, missing_ok=missing_ok)

    module.open, os.fsync = open_file, sync_file
    os.replace, Path.unlink = rename_file, unlink_file  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del module.open
        os.fsync, os.replace, Path.unlink = original  # type: ignore[method-assign, assignment]


def measure_fault_points() -> Finding:
    """A run is ended at every point of its third save; from what is left it must continue to the same end."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        cfg = trials.build_config(max_steps=8, max_keep_ckpts=1)
        assert trials.run_training(cfg, folder / 'whole').code == 0
        expected_hash = trials.hash_checkpoint(folder / 'whole')
        points = list_points_of_a_save(folder / 'points')
        stride = len(points) // trials.get_count('FAULT_POINTS', len(points))
        numbers = range(0, len(points), stride)
        faults = [points[n] for n in numbers if not survives_end_at_point(cfg, folder / str(n), n, expected_hash)]
    operations = {point.split(' ', 1)[1] for point in points}
    failed_operations = {point.split(' ', 1)[1] for point in faults}
    order = [p for p in points if p in ('after fsync', 'before rename', 'after folder fsync')]
    is_ordered = order == ['after fsync', 'before rename', 'after folder fsync']
    result = f'{len(operations) - len(failed_operations)} of {len(operations)} operations, '
    result += f'{len(numbers) - len(faults)} of {len(numbers)} points; '
    result += 'fsync before every rename' if is_ordered else 'fsync not before every rename'
    result += ''.join(f'; not {point}' for point in faults)
    return result, is_ordered and not faults and operations == set(OPERATIONS)


def list_points_of_a_save(folder: Path) -> list[str]:
    """The points of a save that replaces an older file."""
    points: list[str] = []
    for step in (1, 2):
        with watch_file_operations(points.append if step == 2 else lambda _: None):
            checkpoint.save_checkpoint(folder, f'step_{step}.pth', {'state_dict': {}}, step, max_keep_ckpts=1)
    return points


def survives_end_at_point(cfg: Any, folder: Path, number: int, expected_hash: str) -> bool:
    """Whether a run that ends without notice at a point of its third save resumes and reaches the same end."""
    child = trials.run_training(cfg, folder, setup=functools.partial(exit_at_point, number))
    if child.code != 77 or trials.run_training(cfg, folder, resume=True).code:
        return False
    return trials.hash_checkpoint(folder) == expected_hash


def exit_at_point(number: int, save_number: int = 3) -> None:
    """Let this process exit at the `number`-th point (from 0) of its `save_number`-th save (from 1)."""
    original, saves = checkpoint.save_checkpoint, iter(range(1, 100))

    def save(*arguments: Any, **settings: Any) -> Path:
        if next(saves) != save_number:
            return original(*arguments, **settings)
        points = iter(range(1000))
        with watch_file_operations(lambda _: os._exit(77) if next(points) == number else None):
            return original(*arguments, **settings)

    checkpoint.save_checkpoint = save


# --- R10: an index that misleads --------------------------------------------------------------------------------------


def empty_index(folder: Path) -> None:
    (folder / CHECKPOINT_INDEX_FILE).write_text('')


def truncate_index(folder: Path) -> None:
    (folder / CHECKPOINT_INDEX_FILE).write_text('{"latest": "step_0000')


def point_to_missing_file(folder: Path) -> None:
    index = json.loads((folder / CHECKPOINT_INDEX_FILE).read_text())
    index['latest'] = 'step_0000099.pth'
    index['files']['step_0000099.pth'] = {'step': 99, 'crc32': [0]}
    (folder / CHECKPOINT_INDEX_FILE).write_text(json.dumps(index))


def rename_folder(folder: Path) -> None:
    folder.rename(folder.with_name('elsewhere'))


def cut_newest_file(folder: Path) -> None:
    newest = max(folder.glob('step_*.pth'))
    newest.write_bytes(newest.read_bytes()[:-9])


def cut_unlisted_file(folder: Path) -> None:
    (folder / 'step_0000009.pth').write_bytes(max(folder.glob('step_*.pth')).read_bytes()[:5000])


# Each with the step of the newest intact file
POINTERS = {
    empty_index: 6,
    truncate_index: 6,
    point_to_missing_file: 6,
    rename_folder: 6,
    cut_newest_file: 4,
    cut_unlisted_file: 6,
}


def measure_bad_pointers() -> Finding:
    """A run of 6 steps whose folder is damaged continues to 8."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        short, whole = (
            trials.build_config(max_steps=steps, max_keep_ckpts=3, param_scheduler=None) for steps in (6, 8)
        )
        assert trials.run_training(short, folder / 'short').code == 0
        assert trials.run_training(whole, folder / 'whole').code == 0
        expected_hash, faults = trials.hash_checkpoint(folder / 'whole'), []
        cases = [*POINTERS.items()][-trials.get_count('POINTERS', len(POINTERS)) :]
        for damage, step in cases:
            run_folder = folder / damage.__name__ / 'run'
            shutil.copytree(folder / 'short', run_folder)
            damage(run_folder)
            run_folder = next(run_folder.parent.iterdir())
            child = trials.run_training(whole, run_folder, resume=True, resume_with=['train_cfg'])
            is_reported = f'step_{step:07d}.pth at step {step} of 8' in child.output
            is_reported &= ('passed over, damaged: step' in child.output) == damage.__name__.startswith('cut')
            if child.code or trials.hash_checkpoint(run_folder) != expected_hash or not is_reported:
                faults.append(f'{damage.__name__}: {child.code}, {child.output[-200:]}')
    return f'{len(cases) - len(faults)} of {len(cases)}' + ''.join(f'; {fault}' for fault in faults), not faults


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R1': (
        '200 runs with 1-3 kills: all resumed, all bit-identical; >= 350 kills, >= 60 inside a write',
        measure_killed_runs,
    ),
    'R2': ('ended at each of 7 operations of a save: 7 of 7 continue; fsync before every rename', measure_fault_points),
    'R10': ('6 of 6 damaged indexes and cut files: the newest intact file is used, and reported', measure_bad_pointers),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
