"""Several processes of which one dies (R9 of docs/reliability.md).

Run: python tests/reliability/ranks.py; RANK_TRIALS and RANK_STEPS make it shorter, RANKS=fork leaves torchrun out.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.engine import launch
from tests.reliability import trials
from tests.reliability.rows import Finding, print_rows

STEPS = 60


def settings() -> dict[str, Any]:
    return dict(steps=trials.count('RANK_STEPS', STEPS), save=4, **{'train_dataloader.batch_size': 2})


class Torchrun:
    """Two processes below torchrun."""

    def __init__(self, folder: Path, restarts: int):
        options = [f'{key}={value!r}' for key, value in trials.options(**settings()).items()]
        command = [
            sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2',
            f'--max-restarts={restarts}', str(trials.ROOT / 'tools/train.py'), str(trials.CONFIG), '--auto-resume',
            '--work-dir', str(folder), '--cfg-options', *options,
        ]  # fmt: skip
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        self.log = folder.with_suffix('.log')
        with open(self.log, 'w') as out:
            self.process = subprocess.Popen(command, cwd=trials.ROOT, stdout=out, stderr=out, env=environment)

    def ranks(self) -> list[int]:
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text()
        return [int(pid) for pid in children.split() if 'tools/train.py' in command_of(int(pid))]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        return self.process.wait(trials.PATIENCE)


def command_of(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_text()
    except OSError:
        return ''


class Forked:
    """Two processes without torchrun: the other one has to find out; with `restarts` both are started once more."""

    def __init__(self, folder: Path, restarts: int):
        self.folder, self.restarts = folder, restarts
        self.children = self._start()

    def _start(self) -> list[trials.Child]:
        with socket.socket() as one:
            one.bind(('127.0.0.1', 0))
            port = one.getsockname()[1]
        return [trials.start(lambda r=r: self._act(r, port), self.folder.with_suffix(f'.{r}.log')) for r in range(2)]

    def _act(self, rank: int, port: int) -> None:
        os.environ.update(
            RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo',
        )  # fmt: skip
        launch.train(trials.config(**settings()), self.folder, resume='auto')

    def ranks(self) -> list[int]:
        return [child.pid for child in self.children]

    def ended(self) -> bool:
        return all(child.ended() for child in self.children)

    def wait(self) -> int:
        codes = [child.wait() for child in self.children]
        if any(codes) and self.restarts:
            self.restarts -= 1
            self.children = self._start()
            return self.wait()
        return max(map(abs, codes))


def dead_ranks() -> Finding:
    """Two gloo processes; a random one is killed at a random moment after the first checkpoint."""
    trials.warm()
    total = trials.count('RANK_TRIALS', 5)
    start: Callable[[Path, int], Any] = Forked if os.environ.get('RANKS') == 'fork' else Torchrun
    with trials.place() as folder:
        undisturbed = start(folder / 'whole', 0)
        assert undisturbed.wait() == 0, (folder / 'whole.log').read_text()[-2000:]
        wanted, slowest, faults = trials.digest(folder / 'whole'), 0.0, []
        for trial in range(total):
            rng = trials.generator(trial)
            code, seconds = killed(start(folder / f'{trial}_ends', 0), folder / f'{trial}_ends', rng)
            slowest = max(slowest, seconds)
            faults += [f'trial {trial} ended with code 0'] if code == 0 else []
            one = folder / f'{trial}_restarts'
            code, _ = killed(start(one, 1), one, rng)
            if code or trials.digest(one) != wanted:
                print(*(log.read_text()[-6000:] for log in folder.glob(f'{one.name}*.log')), sep='\n', file=sys.stderr)
                faults.append(f'trial {trial}, restarted: code {code}')
    told = f'{total} of {total} end, the slowest {slowest:.1f} s after the kill; '
    told += f'{total - len(faults)} of {total} restarted once finish equal to the undisturbed run'
    return told + ''.join(f'; {f}' for f in faults), not faults and slowest < 30


def killed(job: Any, folder: Path, rng: Any) -> tuple[int, float]:
    """The exit code of a job of which a process was killed, and how many seconds after that it ended."""
    while not [*folder.glob('step_*.pth')] and not job.ended():
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    ranks = job.ranks()
    assert len(ranks) == 2, f'{ranks}: the run was over before the kill'
    os.kill(ranks[rng.integers(2)], signal.SIGKILL)
    begun = time.monotonic()
    return job.wait(), time.monotonic() - begun


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R9': ('2 processes, one killed: ends in 30 s; restarted once it finishes equal; 5 of 5', dead_ranks),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
