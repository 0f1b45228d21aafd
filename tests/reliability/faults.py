"""Runs that meet a full disk, numbers that are none and rotten bits (R6, R8 and R11 of docs/reliability.md).

Run: python tests/reliability/faults.py [GOALS...]; DISK_FAULTS, SPOILED_STEPS, BIT_FLIPS and LOADED_MB make R6, R8 and
R11 shorter.
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

from poseplug.engine import checkpoint, launch
from poseplug.engine.hooks.progress import CURVE
from poseplug.errors import CheckpointError, NonFiniteLossError
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

SAVES = 4
FLIPS, CUTS = 2000, 300
LARGE = 400  # MB of the checkpoint that is verified
TURNS = 9  # loads of it each way
NOBODY = 65534

# --- R6: no room ------------------------------------------------------------------------------------------------------


def no_room(path: Path) -> None:
    """ENOSPC: what is written there goes to a device that is full."""
    path.with_name(f'.{path.name}.partial').symlink_to('/dev/full')


def too_large(path: Path) -> None:
    """EFBIG: no file may be as large as a checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def not_allowed(path: Path) -> None:
    """EACCES: the folder belongs to another."""
    path.parent.chmod(0o555)
    if os.geteuid() == 0:
        path.parent.parent.chmod(0o755)
        os.seteuid(NOBODY)


FAULTS = {'No space left on device': no_room, 'File too large': too_large, 'Permission denied': not_allowed}


def full_disks() -> Finding:
    """Each fault at each of 4 saves, and a curve that cannot be written."""
    trials.warm()
    with trials.place() as folder:
        cfg = trials.config(steps=2 * SAVES, keep=1)
        assert trials.ended(cfg, folder / 'whole').code == 0
        wanted = trials.digest(folder / 'whole')
        cases = [(told, which) for told in FAULTS for which in range(1, SAVES + 1)]
        which_cases = cases[:: len(cases) // trials.count('DISK_FAULTS', len(cases))]
        faults = [
            f'{c}: {f}' for c in which_cases if (f := disk_fault(cfg, folder / '_'.join(map(str, c)), *c, wanted))
        ]
        faults += [f'curve: {fault}' for fault in [curve_fault(cfg, folder / 'curve', wanted)] if fault]
    total = len(which_cases) + 1
    return f'{total - len(faults)} of {total} named, earlier ones whole, gone on exactly' + ''.join(
        f'; {f}' for f in faults
    ), not faults


def disk_fault(cfg: Any, folder: Path, told: str, which: int, wanted: str) -> str:
    """What is wrong with a run whose `which`-th save meets a fault, and with its going on; nothing if nothing is."""
    child = trials.ended(cfg, folder, act=functools.partial(fail_at, which, FAULTS[told]))
    folder.chmod(0o755)
    if child.code != 2 or f'cannot be written: {told}' not in child.said:
        return f'code {child.code}, {child.said[-300:]}'
    if which > 1 and checkpoint.load(folder)['meta']['step'] != 2 * (which - 1):
        return 'the checkpoint before it is not the latest'
    child = trials.ended(cfg, folder)
    if child.code or trials.digest(folder) != wanted:
        return f'does not go on: code {child.code}, {child.said[-300:]}'
    return 'a temporary file is left' if [*folder.glob('.*.partial')] else ''


def fail_at(which: int, fault: Callable[[Path], None]) -> None:
    """Have this process meet a fault when it saves for the `which`-th time."""
    usual, saves = checkpoint.save, iter(range(1, 100))

    def save(folder: Path, name: str, *arguments: Any, **settings: Any) -> Path:
        if next(saves) == which:
            fault(folder / name)
        return usual(folder, name, *arguments, **settings)

    checkpoint.save = save


def curve_fault(cfg: Any, folder: Path, wanted: str) -> str:
    def full() -> None:
        trials.acting(begin=lambda _: (folder / CURVE).symlink_to('/dev/full'))()

    child = trials.ended(cfg, folder, act=full)
    if child.code != 2 or 'cannot be written: No space left on device' not in child.said:
        return f'code {child.code}, {child.said[-300:]}'
    (folder / CURVE).unlink()
    return '' if trials.ended(cfg, folder).code == 0 and trials.digest(folder) == wanted else 'does not go on'


# --- R8: numbers that are none ----------------------------------------------------------------------------------------


def spoil_gradient(runner: Any) -> list[Any]:
    parameter = [p for p in runner.bare_model.parameters() if p.requires_grad][-1]
    return [parameter.register_hook(lambda gradient: gradient * float('nan'))]


def spoil_loss(by: float, runner: Any) -> list[Any]:
    return [m.register_forward_hook(lambda *found: found[-1] * by) for m in runner.bare_model.loss.modules()]


SPOILERS: dict[str, Callable[[Any], list[Any]]] = {
    'loss is nan': functools.partial(spoil_loss, float('nan')),
    'loss is inf': functools.partial(spoil_loss, float('inf')),
    'the gradient is not a finite number': spoil_gradient,
}


def spoiled_numbers() -> Finding:
    """A loss or gradient that is none at random steps; then with two such steps left out, and with one too many."""
    trials.warm()
    total = trials.count('SPOILED_STEPS', 10)
    faults = []
    with trials.place() as folder:
        for run in range(total):
            told, step = [*SPOILERS][run % 3], int(trials.generator(run).integers(1, 12))
            fault = spoiled_run(folder / str(run), told, step)
            faults += [f'{told} at step {step}: {fault}'] if fault else []
        skips = [skipped_runs(folder / f'skip_{count}', count) for count in (2, 3)]
    told = f'{total - len(faults)} of {total} stopped before the step, named, the checkpoint finite; skip=2: '
    told += f'{skips[0] or "2 left out and counted"}, {skips[1] or "stopped at the third"}'
    return told + ''.join(f'; {f}' for f in faults), not faults and not any(skips)


def spoiled_at(steps: list[int], spoil: Callable[[Any], list[Any]]) -> Callable[[], None]:
    """What a child does first, so that its run is spoiled at some steps (from 0)."""
    handles: list[Any] = []

    def before(runner: Any) -> None:
        if runner.iter in steps:
            handles.extend(spoil(runner))
        steps[:] = [step for step in steps if step != runner.iter]

    def after(_: Any) -> None:
        while handles:
            handles.pop().remove()

    return trials.acting(before=before, after=after)


def spoiled_run(folder: Path, told: str, step: int) -> str:
    """What is wrong with how a run ends that is spoiled at a step."""

    def run() -> None:
        kept: dict[str, Any] = {}

        def keep(runner: Any) -> None:
            if runner.iter == step:
                kept.update(model=runner.bare_model, weights=copied(runner.bare_model))

        trials.acting(before=keep)()
        spoiled_at([step], SPOILERS[told])()
        try:
            launch.train(trials.config(steps=12), folder)
        finally:
            same = all(torch.equal(v, kept['weights'][n]) for n, v in copied(kept['model']).items())
            print('weights as before' if same else 'weights changed')

    child = trials.start(run, folder.with_suffix('.log'))
    wanted = (NonFiniteLossError.__name__, f'step {step + 1}: ', told, 'Samples: lsp im', 'weights as before')
    code = child.wait()
    missing = [part for part in wanted if part not in child.said]
    if code != 2 or missing:
        return f'code {code}, without {missing}: {child.said[-300:]}'
    if not list(folder.glob('step_*.pth')):
        return '' if step < 2 else 'no checkpoint'
    content = checkpoint.load(folder)
    finite = all(v.isfinite().all() for v in content['state_dict'].values())
    return '' if finite and content['meta']['step'] == step // 2 * 2 else 'the last checkpoint is not as it should be'


def copied(model: Any) -> dict[str, Any]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def skipped_runs(folder: Path, spoiled: int) -> str:
    """What is wrong with a run of which 2 steps may be left out and so many are spoiled."""
    cfg = trials.config(steps=12)
    cfg.default_hooks.finite = dict(skip=2)
    child = trials.ended(cfg, folder, act=spoiled_at([3, 6, 9][:spoiled], spoil_gradient))
    if child.code != (0 if spoiled == 2 else 2) or child.said.count('the step was not taken') != spoiled:
        return f'code {child.code}: {child.said[-300:]}'
    skipped = checkpoint.load(folder)['meta']['skipped']
    return '' if skipped == 2 else f'{skipped} counted'


# --- R11: rotten bits -------------------------------------------------------------------------------------------------


def rotten_files() -> Finding:
    """A run's checkpoint with a bit flipped or its end cut off, with its index and without; what verifying costs."""
    trials.warm()
    flips = trials.count('BIT_FLIPS', FLIPS)
    cuts = flips * CUTS // FLIPS
    with trials.place() as folder:
        assert trials.ended(trials.config(steps=2), folder / 'run').code == 0
        ends = {known: rot(folder / 'run', flips, cuts, known) for known in (True, False)}
        (folder / 'run').rename(folder / 'spoiled')
        cold, hot = verification(folder)
    told = '; '.join(
        f'{"with" if known else "without"} the index: {e["refused"]:,} refused, {e["same"]:,} harmless, {e["other"]:,} '
        f'load other weights, {e["unnamed"]:,} unnamed errors' for known, e in ends.items()
    )  # fmt: skip
    told += f'; verifying takes {100 * cold:.0f} % of loading from the disk, {100 * hot:.0f} % from memory'
    return told, not any(e['other'] + e['unnamed'] for e in ends.values()) and (
        max(cold, hot) < 0.1 or trials.count('LOADED_MB', LARGE) < LARGE
    )


def rot(folder: Path, flips: int, cuts: int, known: bool) -> Counter[str]:
    """How loading ends after each of some flips and cuts."""
    path = checkpoint.latest(folder)
    data, index = path.read_bytes(), (folder / checkpoint.INDEX).read_bytes()
    wanted, rng, ends = trials.digest(folder), trials.generator(5), Counter(dict.fromkeys(('other', 'unnamed'), 0))
    if not known:
        (folder / checkpoint.INDEX).unlink()
    for number in range(flips + cuts):
        place = int(rng.integers(len(data)))
        spoiled = bytearray(data if number < flips else data[:place])
        if number < flips:
            spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        try:
            ends['same' if trials.digest(folder) == wanted else 'other'] += 1
        except CheckpointError:
            ends['refused'] += 1
        except Exception:
            ends['unnamed'] += 1
    path.write_bytes(data)
    (folder / checkpoint.INDEX).write_bytes(index)
    return ends


def verification(folder: Path) -> tuple[float, float]:
    """Which part of the way from a large file to a model's weights is its verification: from the disk, from memory.

    The other side is `torch.load`, which verifies nothing. Both copy what they read into the same weights, in turns.
    """
    count = max(trials.count('LOADED_MB', LARGE) // 4, 1)
    weights = {f'layer_{n}': torch.randn(1024, 1024) for n in range(count)}
    path = checkpoint.save(folder, 'step_0000001.pth', {'state_dict': weights}, 1)
    ways: dict[str, Callable[[], Any]] = {
        'plain': lambda: torch.load(path, map_location='cpu', weights_only=True), 'ours': lambda: checkpoint.load(path)
    }  # fmt: skip
    shares = []
    for cold in (True, False):
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, load in ways.items():
                spent[name].append(seconds(load, weights, path, cold))
        plain, ours = (statistics.median(spent[name]) for name in ('plain', 'ours'))
        shares.append(max(0.0, (ours - plain) / ours))
    return shares[0], shares[1]


def seconds(load: Callable[[], Any], weights: dict[str, torch.Tensor], path: Path, cold: bool) -> float:
    if cold:
        with open(path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.perf_counter()
    for name, values in load()['state_dict'].items():
        weights[name].copy_(values)
    return time.perf_counter() - begun


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R6': ('disk full, file too large, no permission, at every save: named, earlier ones whole, no rest', full_disks),
    'R8': ('not finite at 10 random steps: stopped before the step, named; skip-n', spoiled_numbers),
    'R11': (
        '2,000 flipped bits, 300 cuts: 0 load other weights; verifying < 10 % of loading', rotten_files,
    ),
}  # fmt: skip

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
