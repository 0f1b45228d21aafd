"""Runs with a full disk, numbers that are not finite, and flipped bits (R6, R8 and R11 of docs/lab/reliability.md).

Run: python tests/reliability/faults.py [GOALS...]; DISK_FAULTS, INVALID_STEPS, BIT_FLIPS and LOADED_MB shorten R6, R8
and R11.
"""

from __future__ import annotations

import functools
import os
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch

from poseplug.core.errors import CheckpointError, NonFiniteLossError
from poseplug.engine import checkpoint, launch
from poseplug.engine.hooks.progress import CURVE_FILE
from poseplug.files.checkpoint_folder import CHECKPOINT_INDEX_FILE, find_latest_checkpoint
from poseplug.files.weights import load_checkpoint
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

NUM_SAVES = 4
NUM_FLIPS, NUM_CUTS = 2000, 300
LARGE_MB = 400  # of the checkpoint that is verified
NUM_REPEATS = 9  # loads of it by each function
UNPRIVILEGED_USER = 65534

# --- R6: files that cannot be written ---------------------------------------------------------------------------------


def fill_disk(path: Path) -> None:
    """ENOSPC: the file is written to a device that is full."""
    path.with_name(f'.{path.name}.partial').symlink_to('/dev/full')


def limit_file_size(path: Path) -> None:
    """EFBIG: no file may be as large as a checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def forbid_writing(path: Path) -> None:
    """EACCES: the folder may not be written to."""
    path.parent.chmod(0o555)
    if os.geteuid() == 0:
        path.parent.parent.chmod(0o755)
        os.seteuid(UNPRIVILEGED_USER)


DISK_FAULTS = {
    'No space left on device': fill_disk,
    'File too large': limit_file_size,
    'Permission denied': forbid_writing,
}


def measure_disk_faults() -> Finding:
    """Each fault at each of 4 saves, and a curve that cannot be written."""
    trials.warm_up()
    with trials.temporary_folder() as folder:
        cfg = trials.build_config(max_steps=2 * NUM_SAVES, max_keep_ckpts=1)
        assert trials.run_training(cfg, folder / 'whole').code == 0
        expected_hash = trials.hash_checkpoint(folder / 'whole')
        cases = [(message, save_number) for message in DISK_FAULTS for save_number in range(1, NUM_SAVES + 1)]
        cases = cases[:: len(cases) // trials.get_count('DISK_FAULTS', len(cases))]
        faults = []
        for case in cases:
            fault = find_disk_fault(cfg, folder / '_'.join(map(str, case)), *case, expected_hash)
            faults += [f'{case}: {fault}'] if fault else []
        curve_fault = find_curve_fault(cfg, folder / 'curve', expected_hash)
        faults += [f'curve: {curve_fault}'] if curve_fault else []
    total = len(cases) + 1
    result = f'{total - len(faults)} of {total} named, earlier ones intact, continued exactly'
    return result + ''.join(f'; {fault}' for fault in faults), not faults


def find_disk_fault(cfg: Any, folder: Path, message: str, save_number: int, expected_hash: str) -> str:
    """What is wrong with a run whose `save_number`-th save fails, and with its resume, or nothing."""
    setup = functools.partial(fail_at_save, save_number, DISK_FAULTS[message])
    child = trials.run_training(cfg, folder, setup=setup)
    folder.chmod(0o755)
    if child.code != 2 or f'cannot be written: {message}' not in child.output:
        return f'code {child.code}, {child.output[-300:]}'
    if save_number > 1 and load_checkpoint(folder)['meta']['step'] != 2 * (save_number - 1):
        return 'the checkpoint before it is not the latest'
    child = trials.run_training(cfg, folder)
    if child.code or trials.hash_checkpoint(folder) != expected_hash:
        return f'does not continue: code {child.code}, {child.output[-300:]}'
    return 'a temporary file is left' if [*folder.glob('.*.partial')] else ''


def fail_at_save(save_number: int, fault: Callable[[Path], None]) -> None:
    """Let the `save_number`-th save of this process fail."""
    original, saves = checkpoint.save_checkpoint, iter(range(1, 100))

    def save(folder: Path, file_name: str, *arguments: Any, **settings: Any) -> Path:
        if next(saves) == save_number:
            fault(folder / file_name)
        return original(folder, file_name, *arguments, **settings)

    checkpoint.save_checkpoint = save


def find_curve_fault(cfg: Any, folder: Path, expected_hash: str) -> str:
    """What is wrong with a run whose curve cannot be written, and with its resume, or nothing."""
    setup = trials.install_callbacks(begin=lambda _: (folder / CURVE_FILE).symlink_to('/dev/full'))
    child = trials.run_training(cfg, folder, setup=setup)
    if child.code != 2 or 'cannot be written: No space left on device' not in child.output:
        return f'code {child.code}, {child.output[-300:]}'
    (folder / CURVE_FILE).unlink()
    if trials.run_training(cfg, folder).code or trials.hash_checkpoint(folder) != expected_hash:
        return 'does not continue'
    return ''


# --- R8: numbers that are not finite ----------------------------------------------------------------------------------


def corrupt_gradient(runner: Any) -> list[Any]:
    """Make the next gradient of the last parameter NaN; return the handles of the hooks."""
    parameter = [p for p in runner.bare_model.parameters() if p.requires_grad][-1]
    return [parameter.register_hook(lambda gradient: gradient * float('nan'))]


def corrupt_loss(factor: float, runner: Any) -> list[Any]:
    """Multiply the loss by a factor; return the handles of the hooks."""
    modules = runner.bare_model.criterion.loss.modules()
    return [module.register_forward_hook(lambda *arguments: arguments[-1] * factor) for module in modules]


CORRUPTIONS: dict[str, Callable[[Any], list[Any]]] = {
    'loss is nan': functools.partial(corrupt_loss, float('nan')),
    'loss is inf': functools.partial(corrupt_loss, float('inf')),
    'the gradient is not a finite number': corrupt_gradient,
}


def measure_invalid_numbers() -> Finding:
    """A loss or gradient that is not finite at random steps; then with two skipped steps, and with one too many."""
    trials.warm_up()
    total = trials.get_count('INVALID_STEPS', 10)
    faults = []
    with trials.temporary_folder() as folder:
        for run in range(total):
            message, step = [*CORRUPTIONS][run % 3], int(trials.create_rng(run).integers(1, 12))
            fault = find_invalid_step_fault(folder / str(run), message, step)
            faults += [f'{message} at step {step}: {fault}'] if fault else []
        skip_faults = [find_skip_fault(folder / f'skip_{count}', count) for count in (2, 3)]
    result = f'{total - len(faults)} of {total} stopped before the step, named, the checkpoint finite; '
    two_skipped, third_stopped = skip_faults[0] or '2 skipped and counted', skip_faults[1] or 'stopped at the third'
    result += f'max_skipped_steps=2: {two_skipped}, {third_stopped}'
    return result + ''.join(f'; {fault}' for fault in faults), not faults and not any(skip_faults)


def corrupt_steps(steps: list[int], corrupt: Callable[[Any], list[Any]]) -> Callable[[], None]:
    """The setup of a child whose run is corrupted at some steps (from 0)."""
    handles: list[Any] = []

    def before(runner: Any) -> None:
        if runner.iter in steps:
            handles.extend(corrupt(runner))
        steps[:] = [step for step in steps if step != runner.iter]

    def after(_: Any) -> None:
        while handles:
            handles.pop().remove()

    return trials.install_callbacks(before=before, after=after)


def find_invalid_step_fault(folder: Path, message: str, step: int) -> str:
    """What is wrong with the end of a run that is corrupted at a step, or nothing."""

    def run() -> None:
        before_step: dict[str, Any] = {}

        def copy_before_step(runner: Any) -> None:
            if runner.iter == step:
                before_step.update(model=runner.bare_model, weights=copy_weights(runner.bare_model))

        trials.install_callbacks(before=copy_before_step)()
        corrupt_steps([step], CORRUPTIONS[message])()
        try:
            launch.train(trials.build_config(max_steps=12), folder)
        finally:
            weights = copy_weights(before_step['model'])
            is_same = all(torch.equal(value, before_step['weights'][name]) for name, value in weights.items())
            print('weights as before' if is_same else 'weights changed')

    child = trials.fork_child(run, folder.with_suffix('.log'))
    expected_parts = (
        NonFiniteLossError.__name__,
        f'step {step + 1}: ',
        message,
        'Samples: lsp im',
        'weights as before',
    )
    code = child.wait()
    missing_parts = [part for part in expected_parts if part not in child.output]
    if code != 2 or missing_parts:
        return f'code {code}, without {missing_parts}: {child.output[-300:]}'
    if not list(folder.glob('step_*.pth')):
        return '' if step < 2 else 'no checkpoint'
    content = load_checkpoint(folder)
    is_finite = all(value.isfinite().all() for value in content['state_dict'].values())
    if is_finite and content['meta']['step'] == step // 2 * 2:
        return ''
    return 'the last checkpoint is not as it should be'


def copy_weights(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def find_skip_fault(folder: Path, num_corrupted: int) -> str:
    """What is wrong with a run that may skip 2 steps and has `num_corrupted` invalid ones, or nothing."""
    cfg = trials.build_config(max_steps=12)
    cfg.default_hooks.check_invalid_loss = dict(max_skipped_steps=2)
    child = trials.run_training(cfg, folder, setup=corrupt_steps([3, 6, 9][:num_corrupted], corrupt_gradient))
    expected_code = 0 if num_corrupted == 2 else 2
    if child.code != expected_code or child.output.count('the step was not taken') != num_corrupted:
        return f'code {child.code}: {child.output[-300:]}'
    num_skipped = load_checkpoint(folder)['meta']['skipped_steps']
    return '' if num_skipped == 2 else f'{num_skipped} counted'


# --- R11: flipped bits ------------------------------------------------------------------------------------------------


def measure_damaged_files() -> Finding:
    """A checkpoint with a bit flipped or its end cut off, with its index and without; what verification costs."""
    trials.warm_up()
    num_flips = trials.get_count('BIT_FLIPS', NUM_FLIPS)
    num_cuts = num_flips * NUM_CUTS // NUM_FLIPS
    with trials.temporary_folder() as folder:
        assert trials.run_training(trials.build_config(max_steps=2), folder / 'run').code == 0
        outcomes = {
            has_index: count_load_outcomes(folder / 'run', num_flips, num_cuts, has_index)
            for has_index in (True, False)
        }
        (folder / 'run').rename(folder / 'damaged')
        from_disk, from_memory = measure_verification_fractions(folder)
    parts = []
    for has_index, counts in outcomes.items():
        preposition = 'with' if has_index else 'without'
        parts.append(
            f'{preposition} the index: {counts["refused"]:,} refused, {counts["same"]:,} '
            f'harmless, {counts["other"]:,} load other weights, {counts["unnamed"]:,} unnamed errors'
        )
    parts.append(
        f'verification takes {100 * from_disk:.0f} % of loading from the disk, {100 * from_memory:.0f} % from memory'
    )
    is_safe = not any(counts['other'] + counts['unnamed'] for counts in outcomes.values())
    is_fast = max(from_disk, from_memory) < 0.1 or trials.get_count('LOADED_MB', LARGE_MB) < LARGE_MB
    return '; '.join(parts), is_safe and is_fast


def count_load_outcomes(folder: Path, num_flips: int, num_cuts: int, has_index: bool) -> Counter[str]:
    """How loading ends after each of some flips and cuts."""
    path, index_path = find_latest_checkpoint(folder), folder / CHECKPOINT_INDEX_FILE
    data, index = path.read_bytes(), index_path.read_bytes()
    expected_hash, rng = trials.hash_checkpoint(folder), trials.create_rng(5)
    outcomes: Counter[str] = Counter(dict.fromkeys(('other', 'unnamed'), 0))
    if not has_index:
        index_path.unlink()
    for number in range(num_flips + num_cuts):
        position = int(rng.integers(len(data)))
        damaged = bytearray(data if number < num_flips else data[:position])
        if number < num_flips:
            damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            outcomes['same' if trials.hash_checkpoint(folder) == expected_hash else 'other'] += 1
        except CheckpointError:
            outcomes['refused'] += 1
        except Exception:
            outcomes['unnamed'] += 1
    path.write_bytes(data)
    index_path.write_bytes(index)
    return outcomes


def measure_verification_fractions(folder: Path) -> tuple[float, float]:
    """The fractions of loading time that verification takes: from the disk, and from memory.

    The comparison is `torch.load`, which verifies nothing. Both copy what they read into the same weights, in turn.
    """
    count = max(trials.get_count('LOADED_MB', LARGE_MB) // 4, 1)
    weights = {f'layer_{n}': torch.randn(1024, 1024) for n in range(count)}
    path = checkpoint.save_checkpoint(folder, 'step_0000001.pth', {'state_dict': weights}, 1)
    loaders: dict[str, Callable[[], Any]] = {
        'torch.load': lambda: torch.load(path, map_location='cpu', weights_only=True),
        'load_checkpoint': lambda: load_checkpoint(path),
    }
    fractions = []
    for is_cold in (True, False):
        seconds: dict[str, list[float]] = {name: [] for name in loaders}
        for _ in range(NUM_REPEATS):
            for name, load in loaders.items():
                seconds[name].append(measure_load_seconds(load, weights, path, is_cold))
        unverified, verified = (statistics.median(values) for values in seconds.values())
        fractions.append(max(0.0, (verified - unverified) / verified))
    return fractions[0], fractions[1]


def measure_load_seconds(load: Callable[[], Any], weights: dict[str, torch.Tensor], path: Path, is_cold: bool) -> float:
    """The seconds of one load; a cold one reads from the disk, not from the page cache."""
    if is_cold:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    for name, values in load()['state_dict'].items():
        weights[name].copy_(values)
    return time.perf_counter() - start


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R6': (
        'disk full, file too large, no permission, at every save: named, earlier ones intact, nothing left behind',
        measure_disk_faults,
    ),
    'R8': ('not finite at 10 random steps: stopped before the step, named; skipped steps', measure_invalid_numbers),
    'R11': (
        '2,000 flipped bits, 300 cuts: 0 load other weights; verification < 10 % of loading',
        measure_damaged_files,
    ),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
