"""Runs of all kinds that continue exactly, and long ones (R3, R4, R5, R7 and R12 of docs/lab/reliability.md).

Run: python tests/reliability/resumes.py [GOALS...]; RESUME_CELLS, WORKER_COUNTS, STOPPED_RUNS and LONG_STEPS shorten
R3, R4, R7 and R12.
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
from poseplug.data.dataset import PoseDataset
from poseplug.engine import checkpoint, dataloaders
from poseplug.engine.signals import EXIT_CODES
from poseplug.files.checkpoint_folder import CHECKPOINT_INDEX_FILE
from poseplug.files.weights import load_checkpoint
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

CELLS = [*itertools.product(('epoch', 'iter'), ('boundary', 'mid-epoch'), (0, 1, 2), ('deterministic', 'random'))]
RANDOM_TRANSFORMS = ('RandomScaleRotate', 'RandomFlip')
WORKER_COUNTS = (0, 2, 1, 4)
LATE_STEP = 10_000
NUM_SAVES = 50  # of the long run


def pretend_many_cores() -> None:
    """Let loaders start all their workers on a machine with few cores, too."""
    dataloaders.count_usable_cores = lambda: 8


# --- R3: every kind of run --------------------------------------------------------------------------------------------


def measure_cells() -> Finding:
    """24 kinds of runs of 9 steps, 3 per epoch: killed at step 6, or stopped within the second epoch."""
    trials.warm_up()
    total = trials.get_count('RESUME_CELLS', len(CELLS))
    # A stride of 7 reaches all 24 cells, and varies all properties in a short version.
    cells = [CELLS[7 * n % len(CELLS)] for n in range(total)]
    with trials.temporary_folder() as folder:
        faults = ['/'.join(map(str, cell)) for n, cell in enumerate(cells) if not is_cell_exact(cell, folder / str(n))]
    result = f'{total - len(faults)} of {total} equal by sha256' + ''.join(f'; not {fault}' for fault in faults)
    return result, not faults


def is_cell_exact(cell: tuple[str, str, int, str], folder: Path) -> bool:
    loop, moment, num_workers, kind = cell
    cfg = build_cell_config(loop, num_workers, kind)
    whole = trials.run_training(cfg, folder / 'whole')
    step, number = (6, signal.SIGKILL) if moment == 'boundary' else (4, signal.SIGTERM)
    end_run = trials.install_callbacks(
        before=lambda runner: os.kill(os.getpid(), number) if runner.iter == step else None
    )
    first = trials.run_training(cfg, folder / 'two', setup=end_run)
    saved_step = load_checkpoint(folder / 'two')['meta']['step']
    second = trials.run_training(cfg, folder / 'two', resume=True)
    expected_code = -signal.SIGKILL if moment == 'boundary' else EXIT_CODES[signal.SIGTERM]
    if (whole.code, first.code, second.code) != (0, expected_code, 0) or saved_step != step + (moment != 'boundary'):
        print(cell, saved_step, whole.output, first.output, second.output, file=sys.stderr)
        return False
    return trials.hash_checkpoint(folder / 'whole') == trials.hash_checkpoint(folder / 'two')


def build_cell_config(loop: str, num_workers: int, kind: str) -> Any:
    """The config of a cell: nothing random, or dropout, augmentation, averaged weights and bfloat16."""
    cfg = trials.build_config(
        save_interval=1 if loop == 'epoch' else 3, **{'train_dataloader.num_workers': num_workers}
    )
    cfg.train_cfg = dict(max_epochs=3) if loop == 'epoch' else dict(max_steps=9)
    if kind == 'deterministic':
        dataset = cfg.train_dataloader.dataset
        dataset.pipeline = [t for t in dataset.pipeline if t['type'] not in RANDOM_TRANSFORMS]
        cfg.model.head.first_layers, cfg.custom_hooks = ((1, 16),), None
    else:
        cfg.optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')
    return cfg


# --- R4: any number of workers ----------------------------------------------------------------------------------------


def measure_worker_counts() -> Finding:
    """The batches and the final weights with 0, 1, 2 and 4 workers."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        hashes: dict[int, tuple[str, str]] = {}
        for num_workers in WORKER_COUNTS[: trials.get_count('WORKER_COUNTS', len(WORKER_COUNTS))]:
            run_folder = folder / str(num_workers)
            batch_file = run_folder.with_suffix('.batches')
            cfg = trials.build_config(max_steps=8, **{'train_dataloader.num_workers': num_workers})
            child = trials.run_training(cfg, run_folder, setup=functools.partial(log_batch_hashes, batch_file))
            assert child.code == 0, child.output
            hashes[num_workers] = trials.hash_checkpoint(run_folder), batch_file.read_text()
    differing = [num_workers for num_workers in hashes if hashes[num_workers] != hashes[0]]
    assert len(hashes[0][1].split()) == 8
    result = f'{len(hashes) - len(differing)} of {len(hashes)} numbers of workers: equal batches and weights'
    return result + ''.join(f'; not with {num_workers}' for num_workers in differing), not differing


def log_batch_hashes(file: Path) -> None:
    """Let this process append a hash of every training batch to a file."""

    def log_batches(runner: Any) -> None:
        with open(file, 'a') as out:
            for batch in runner.train_loop.step_batches:
                digest = hashlib.sha256()
                trials.update_hash(digest, [value for value in vars(batch).values() if hasattr(value, 'dtype')])
                out.write(digest.hexdigest() + '\n')

    pretend_many_cores()
    trials.install_callbacks(after=log_batches)()


# --- R5: trained samples are not read again ---------------------------------------------------------------------------


def measure_late_resume() -> Finding:
    """A checkpoint of step 1 is marked as that of step 10,000, and continues for one step."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        cfg = trials.build_config(max_steps=LATE_STEP + 1, save_interval=LATE_STEP, param_scheduler=None)
        first = measure_start(cfg, folder / 'first', folder / 'first.json')
        content = load_checkpoint(folder / 'first')
        content['meta']['step'] = LATE_STEP
        checkpoint.save_checkpoint(folder / 'late', f'step_{LATE_STEP:07d}.pth', content, LATE_STEP)
        later = measure_start(cfg, folder / 'late', folder / 'late.json')
    batch_size = cfg.train_dataloader.batch_size
    delay = later['seconds'] - first['seconds']
    num_skipped = later['decoded'] - batch_size
    result = f'{num_skipped} skipped samples decoded; the first step begins {max(delay, 0):.2f} s later'
    ok = later['decoded'] == first['decoded'] == batch_size and delay < 1 and later['step'] == LATE_STEP
    return result, ok


def measure_start(cfg: Any, folder: Path, file: Path) -> dict[str, Any]:
    """The number of decoded samples, and the seconds, until the first step of a run, which is then stopped."""
    child = trials.run_training(cfg, folder, setup=functools.partial(log_start, file))
    assert child.code == EXIT_CODES[signal.SIGTERM], child.output
    return json.loads(file.read_text())


def log_start(file: Path) -> None:
    start, original, num_decoded = time.monotonic(), PoseDataset.load_raw_sample, itertools.count()

    def load_raw_sample(dataset: Any, key: Any) -> Any:
        next(num_decoded)
        return original(dataset, key)

    def log_and_stop(runner: Any) -> None:
        seconds = time.monotonic() - start
        file.write_text(json.dumps({'decoded': next(num_decoded), 'seconds': seconds, 'step': runner.iter}))
        os.kill(os.getpid(), signal.SIGTERM)

    PoseDataset.load_raw_sample = load_raw_sample  # type: ignore[method-assign]
    trials.install_callbacks(begin=log_and_stop)()


# --- R7: signals ------------------------------------------------------------------------------------------------------


def measure_stopped_runs() -> Finding:
    """SIGTERM and SIGUSR1 in turn, at random moments of training and evaluation; then twice within a long step."""
    trials.warm_up()
    total = trials.get_count('STOPPED_RUNS', 20)
    cfg = trials.build_config(val=True, **{'train_cfg.val_interval': 5})
    with trials.temporary_folder() as folder:
        mark = folder / 'mark'
        child = trials.start_training(cfg, folder / 'whole', setup=trials.touch_at_fraction(mark))
        start = trials.wait_for_file(mark, child)
        assert child.wait() == 0, child.output
        run_seconds, expected_hash = time.monotonic() - start, trials.hash_checkpoint(folder / 'whole')
        slowest, faults = 0.0, []
        for run in range(total):
            number = (signal.SIGTERM, signal.SIGUSR1)[run % 2]
            delay = run_seconds * trials.create_rng(run).uniform(0, 0.6)
            seconds, fault = stop_and_resume(cfg, folder / str(run), number, delay, expected_hash)
            slowest, faults = max(slowest, seconds), faults + [fault] * bool(fault)
        second_signal_seconds = stop_twice(folder / 'twice')
    result = f'{total - len(faults)} of {total} saved, exited with 143 or 85, and continued exactly; '
    result += f'slowest {slowest:.1f} s; a second signal ends it in {second_signal_seconds:.2f} s'
    result += ''.join(f'; {fault}' for fault in faults)
    return result, not faults and slowest < 5 and second_signal_seconds < 1


def stop_and_resume(cfg: Any, folder: Path, number: int, delay: float, expected_hash: str) -> tuple[float, str]:
    """The seconds that a run took to stop, and what was wrong with it, or nothing."""
    child = trials.start_training(cfg, folder, setup=trials.touch_at_fraction(folder.with_suffix('.mark')))
    trials.wait_for_file(folder.with_suffix('.mark'), child)
    time.sleep(delay)
    child.send(number)
    sent = time.monotonic()
    code, seconds = child.wait(), time.monotonic() - sent
    moment = f'{signal.Signals(number).name} after {delay:.2f} s'
    if code != EXIT_CODES[signal.Signals(number)]:
        return seconds, f'{moment}: code {code}'
    if trials.run_training(cfg, folder, resume=True).code or trials.hash_checkpoint(folder) != expected_hash:
        return seconds, f'{moment}: different weights'
    return seconds, ''


def stop_twice(folder: Path) -> float:
    """The seconds from a second signal to the end of a run in a long step; infinite if the first one ended it."""
    mark = folder.with_suffix('.mark')

    def sleep_in_step(runner: Any) -> None:
        mark.touch()
        time.sleep(20)

    child = trials.start_training(trials.build_config(), folder, setup=trials.install_callbacks(begin=sleep_in_step))
    trials.wait_for_file(mark, child)
    time.sleep(0.1)
    child.send(signal.SIGTERM)
    time.sleep(0.3)
    survived_first = not child.has_ended()
    child.send(signal.SIGTERM)
    sent = time.monotonic()
    return time.monotonic() - sent if child.wait() == -signal.SIGTERM and survived_first else float('inf')


# --- R12: a long run --------------------------------------------------------------------------------------------------


def measure_long_run() -> Finding:
    """5,000 steps with 50 saves, evaluations and best scores; memory and open files after a tenth and at the end."""
    trials.warm_up()
    num_steps = trials.get_count('LONG_STEPS', 5000)
    interval = max(1, num_steps // NUM_SAVES)
    cfg = trials.build_config(
        val=True,
        max_steps=num_steps,
        save_interval=interval,
        max_keep_ckpts=3,
        save_best='rising',
        val_evaluator=dict(type='RisingScore'),
        param_scheduler=None,
        **{'train_cfg.val_interval': interval},
    )
    with trials.temporary_folder() as folder:
        file = folder / 'states'
        child = trials.run_training(cfg, folder / 'run', setup=functools.partial(log_resources, file, num_steps))
        assert child.code == 0, child.output
        first, last = map(json.loads, file.read_text().splitlines())
        files = {f.name for f in (folder / 'run').iterdir() if f.is_file()}
    expected = {'best.pth', CHECKPOINT_INDEX_FILE, 'curve.jsonl', trials.CONFIG.name}
    expected |= {f'step_{num_steps - interval * n:07d}.pth' for n in range(3)}
    memory_growth_mb = (last['memory'] - first['memory']) / 1e6
    open_files_growth = last['files'] - first['files']
    result = f'{num_steps:,} steps, {num_steps // interval} saves: {memory_growth_mb:+.1f} MB, '
    result += f'{open_files_growth:+d} open files; folder '
    result += 'exact' if files == expected else f'differs: {sorted(files ^ expected)}'
    return result, memory_growth_mb < 20 and open_files_growth <= 0 and files == expected


def log_resources(file: Path, num_steps: int) -> None:
    """Let this process log its memory and open files after a tenth of its run and at the end."""

    def log_state(runner: Any) -> None:
        if runner.iter + 1 in (max(1, num_steps // 10), num_steps):
            pages = int(Path('/proc/self/statm').read_text().split()[1])
            state = {'memory': pages * os.sysconf('SC_PAGE_SIZE'), 'files': len(os.listdir('/proc/self/fd'))}
            with open(file, 'a') as out:
                out.write(json.dumps(state) + '\n')

    trials.install_callbacks(after=log_state)()


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R3': ('24 of 24 kinds of runs, resumed, equal by sha256', measure_cells),
    'R4': ('0, 1, 2 and 4 workers: equal batches, equal weights', measure_worker_counts),
    'R5': ('resume at step 10,000: 0 skipped samples decoded, < 1 s later', measure_late_resume),
    'R7': (
        'SIGTERM 143, SIGUSR1 85: saved in 5 s, 20 of 20 moments continue exactly; a second one at once',
        measure_stopped_runs,
    ),
    'R12': ('5,000 steps, 50 saves: < 20 MB more, no more open files, the folder exact', measure_long_run),
}  # fmt: skip

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
