"""How a run tells where it is: a bar with rate and remaining time, and the curve as a file."""

from __future__ import annotations

import json
import logging
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from poseplug.engine.checkpoint import write_whole
from poseplug.engine.distributed import gathered
from poseplug.errors import CheckpointError
from poseplug.progress import Bar, bar
from poseplug.registry import HOOKS

CURVE = 'curve.jsonl'
LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class ProgressHook(Hook):
    """A bar on the screen, and every `interval` steps one line of `curve.jsonl`: step, losses, rate, memory.

    `samples` per second counts the step and the wait for its batch; `waiting` is the share of time spent waiting.
    With `tensorboard` the same numbers go to TensorBoard, where it is installed.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 20, tensorboard: bool = True):
        self.interval, self.tensorboard = interval, tensorboard
        self.bar: Bar | None = None
        self.writer: Any = None
        self.file: Path | None = None  # the first of several processes writes
        self.waited, self.samples, self.sums = 0.0, 0, dict[str, Any]()
        self.start = self.mark = 0.0
        self.first = 0

    def before_train(self, runner: Any) -> None:
        self._begin(runner.iter)
        if runner.rank:
            return
        self.file = Path(runner.work_dir) / CURVE
        keep_until(self.file, runner.iter)
        self.bar = bar('training', total=runner.max_iters, start=runner.iter)
        if self.tensorboard:
            self.writer = tensorboard_writer(Path(runner.work_dir) / 'tensorboard', runner.iter)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self.waited += time.perf_counter() - self.mark

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.samples += sum(map(len, runner.train_loop.taken))
        self.sums = {k: self.sums.get(k, 0.0) + v for k, v in (outputs or {}).items()}
        step = runner.iter + 1
        if step % self.interval == 0 or step == runner.max_iters:
            self._write(runner, step)
            self._begin(step)
        if self.bar is not None:
            self.bar.update(1)
        self.mark = time.perf_counter()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        if not metrics:
            return
        main = {k: v for k, v in metrics.items() if '/' not in k}
        self._line({'step': runner.iter, **main})
        LOGGER.info('step %d: %s', runner.iter, ', '.join(f'{k} {v:g}' for k, v in main.items()))
        self.mark = time.perf_counter()

    def after_run(self, runner: Any) -> None:
        """Give the screen back; also called when a run ends by an error."""
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()
        self.bar = self.writer = None

    def _begin(self, step: int) -> None:
        self.start = self.mark = time.perf_counter()
        self.waited, self.samples, self.sums, self.first = 0.0, 0, {}, step

    def _write(self, runner: Any, step: int) -> None:
        seconds = time.perf_counter() - self.start
        means = averaged(gathered({k: float(v) / (step - self.first) for k, v in self.sums.items()}))
        losses = {k: round(v, 6) for k, v in means.items()}
        line = {
            'step': step,
            **losses,
            'lr': runner.optim_wrapper.get_lr()['lr'][0],
            'samples_per_second': round(self.samples * runner.world_size / seconds, 2),
            'waiting': round(self.waited / seconds, 4),
            'memory_mib': peak_memory(),
        }
        self._line(line)
        if self.bar is not None:
            self.bar.note(f'loss {losses.get("loss", 0):.4g}, {line["samples_per_second"]:.3g} samples/s')

    def _line(self, values: dict[str, Any]) -> None:
        if self.file is None:
            return
        try:
            with open(self.file, 'a') as file:
                file.write(json.dumps(values) + '\n')
        except OSError as error:
            raise CheckpointError(
                f'{self.file} cannot be written: {error.strerror or error}; the checkpoints are whole. Make room or '
                f'the folder writable, and go on with --resume'
            ) from error
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, values['step'])


def averaged(losses: list[dict[str, float]]) -> dict[str, float]:
    """The mean losses of several processes; a loss that one of them had none of counts as 0 there."""
    names = {name: None for own in losses for name in own}
    return {name: sum(own.get(name, 0.0) for own in losses) / len(losses) for name in names}


def keep_until(file: Path, step: int) -> None:
    """Drop from a curve the lines of later steps, which a run that goes on from `step` takes again, and broken ones."""
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    kept = [line for line in lines if step_of(line) <= step]
    if kept != lines:
        write_whole(file, ''.join(kept).encode())


def step_of(line: str) -> float:
    """The step that a line of the curve is about; infinite if it was cut off while it was written."""
    try:
        return json.loads(line)['step']
    except (ValueError, TypeError, KeyError):
        return math.inf


def peak_memory() -> int:
    """The most memory this process ever took, in MiB; on a GPU the most that its tensors took."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def tensorboard_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
