"""Distributed trainings of which one process dies (R9 of docs/lab/reliability.md).

Run: python tests/reliability/ranks.py; RANK_TRIALS and RANK_STEPS shorten it, RANKS=fork does without torchrun.
"""

from __future__ import annotations

import functools
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

NUM_STEPS = 60


def build_settings() -> dict[str, Any]:
    num_steps = trials.get_count('RANK_STEPS', NUM_STEPS)
    return dict(max_steps=num_steps, save_interval=4, **{'train_dataloader.batch_size': 2})


class TorchrunJob:
    """Two processes started by torchrun."""

    def __init__(self, folder: Path, max_restarts: int):
        options = [f'{key}={value!r}' for key, value in trials.build_options(**build_settings()).items()]
        command = [
            sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2',
            f'--max-restarts={max_restarts}', str(trials.ROOT / 'tools/train.py'), str(trials.CONFIG), '--auto-resume',
            '--work-dir', str(folder), '--cfg-options', *options,
        ]  # fmt: skip
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        self.log = folder.with_suffix('.log')
        with open(self.log, 'w') as out:
            self.process = subprocess.Popen(command, cwd=trials.ROOT, stdout=out, stderr=out, env=environment)

    def list_pids(self) -> list[int]:
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text()
        return [int(pid) for pid in children.split() if 'tools/train.py' in read_command_line(int(pid))]

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        return self.process.wait(trials.TIMEOUT_SECONDS)


def read_command_line(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_text()
    except OSError:
        return ''


class ForkedJob:
    """Two processes without torchrun: each must notice by itself that the other died.

    With `max_restarts` both are started again.
    """

    def __init__(self, folder: Path, max_restarts: int):
        self.folder, self.restarts_left = folder, max_restarts
        self.children = self._start()

    def _start(self) -> list[trials.Child]:
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            port = listener.getsockname()[1]
        children = []
        for rank in range(2):
            log = self.folder.with_suffix(f'.{rank}.log')
            children.append(trials.fork_child(functools.partial(self._train, rank, port), log))
        return children

    def _train(self, rank: int, port: int) -> None:
        os.environ.update(
            RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo',
        )  # fmt: skip
        launch.train(trials.build_config(**build_settings()), self.folder, resume='auto')

    def list_pids(self) -> list[int]:
        return [child.pid for child in self.children]

    def has_ended(self) -> bool:
        return all(child.has_ended() for child in self.children)

    def wait(self) -> int:
        codes = [child.wait() for child in self.children]
        if any(codes) and self.restarts_left:
            self.restarts_left -= 1
            self.children = self._start()
            return self.wait()
        return max(map(abs, codes))


def measure_dead_ranks() -> Finding:
    """Two gloo processes; a random one is killed at a random moment after the first checkpoint."""
    trials.warm_up()
    total = trials.get_count('RANK_TRIALS', 5)
    start_job: Callable[[Path, int], Any] = ForkedJob if os.environ.get('RANKS') == 'fork' else TorchrunJob
    with trials.temporary_folder() as folder:
        undisturbed = start_job(folder / 'whole', 0)
        assert undisturbed.wait() == 0, (folder / 'whole.log').read_text()[-2000:]
        expected_hash, slowest, faults = trials.hash_checkpoint(folder / 'whole'), 0.0, []
        for trial in range(total):
            rng = trials.create_rng(trial)
            code, seconds = kill_one_process(start_job(folder / f'{trial}_ends', 0), folder / f'{trial}_ends', rng)
            slowest = max(slowest, seconds)
            faults += [f'trial {trial} ended with code 0'] if code == 0 else []
            run_folder = folder / f'{trial}_restarts'
            code, _ = kill_one_process(start_job(run_folder, 1), run_folder, rng)
            if code or trials.hash_checkpoint(run_folder) != expected_hash:
                logs = folder.glob(f'{run_folder.name}*.log')
                print(*(log.read_text()[-6000:] for log in logs), sep='\n', file=sys.stderr)
                faults.append(f'trial {trial}, restarted: code {code}')
    result = f'{total} of {total} end, the slowest {slowest:.1f} s after the kill; '
    result += f'{total - len(faults)} of {total} restarted once finish equal to the undisturbed run'
    return result + ''.join(f'; {fault}' for fault in faults), not faults and slowest < 30


def kill_one_process(job: Any, folder: Path, rng: Any) -> tuple[int, float]:
    """Kill a process of a job; return the job's exit code and the seconds until it ended."""
    while not [*folder.glob('step_*.pth')] and not job.has_ended():
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    pids = job.list_pids()
    assert len(pids) == 2, f'{pids}: the run was over before the kill'
    os.kill(pids[rng.integers(2)], signal.SIGKILL)
    start = time.monotonic()
    return job.wait(), time.monotonic() - start


GOALS: dict[str, tuple[str, Callable[[], Finding]]] = {
    'R9': ('2 processes, one killed: ends in 30 s; restarted once it finishes equal; 5 of 5', measure_dead_ranks),
}

if __name__ == '__main__':
    print_rows(GOALS, __doc__)
