"""The progress of a run: a bar with rate and remaining time on the screen, and the training curve as a file."""

from __future__ import annotations

__all__ = ['ProgressHook']

import json
import logging
import math
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook

from poseplug.core.errors import CheckpointError
from poseplug.core.progress import ProgressBar, start_progress_bar
from poseplug.core.setting_checks import check_counts
from poseplug.engine.distributed import all_gather_objects
from poseplug.engine.runner_types import RunnerLike
from poseplug.files.atomic import write_atomically
from poseplug.registry import HOOKS

CURVE_FILE = 'curve.jsonl'
_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a progress bar and writes the training curve to `curve.jsonl`.

    A line of the curve holds the step, the mean losses since the line before, the learning rate, the samples per second
    (of the steps and the waits for their batches), `data_wait_fraction` (the fraction of the time, 0 to 1, that is
    spent waiting for data) and, where it is known, the peak memory in MiB. An evaluation adds a line with its scores.

    Args:
        interval: steps between the lines of the curve.
        tensorboard: whether the same values go to TensorBoard, if it is installed. Where the config has a `visualizer`,
            its backends get them instead.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 20, tensorboard: bool = True):
        check_counts('ProgressHook', interval=interval)
        self.interval, self.tensorboard = interval, tensorboard
        self.bar: ProgressBar | None = None
        self.writer: Any = None
        self.visualizer: Any = None  # of the config
        self.curve_file: Path | None = None  # of several processes the first writes it
        self.wait_seconds, self.num_samples, self.loss_sums = 0.0, 0, dict[str, Any]()
        self.start_time = self.wait_start_time = self.pause_start_time = 0.0
        self.first_step = 0

    def before_train(self, runner: RunnerLike) -> None:
        """Open the bar and the curve; a resumed run continues both at its step."""
        self._reset_interval(runner.iter)
        if runner.rank:
            return
        self.curve_file = Path(runner.work_dir) / CURVE_FILE
        _truncate_curve(self.curve_file, runner.iter)
        self.bar = start_progress_bar('training', total=runner.max_iters, start=runner.iter)
        self.visualizer = runner.visualizer if has_backends(runner.visualizer) else None
        if self.tensorboard and self.visualizer is None:
            self.writer = _create_tensorboard_writer(Path(runner.work_dir) / 'tensorboard', runner.iter)

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Add the time since the last step to the wait for data."""
        self.wait_seconds += time.perf_counter() - self.wait_start_time

    def after_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Add the losses of a step, and log the interval if this was its last."""
        self.num_samples += sum(map(len, runner.train_loop.step_batches))
        # the sums stay on the device: reading them here would make every step wait for the GPU
        self.loss_sums = {k: self.loss_sums.get(k, 0.0) + v for k, v in (outputs or {}).items()}
        step = runner.iter + 1
        if step % self.interval == 0 or step == runner.max_iters:
            self._log_interval(runner, step)
            self._reset_interval(step)
        if self.bar is not None:
            self.bar.update(1)
        self.wait_start_time = time.perf_counter()

    def after_val_epoch(self, runner: RunnerLike, metrics: dict[str, float] | None = None) -> None:
        """Write and log the scores of an evaluation; those of single keypoints or groups are skipped."""
        if not metrics:
            return
        totals = {name: value for name, value in metrics.items() if '/' not in name}
        self._write_curve_line({'step': runner.iter, **totals})
        scores = ', '.join(f'{name} {value:g}' for name, value in totals.items())
        _LOGGER.info('step %d: %s', runner.iter, scores)

    def before_val(self, runner: RunnerLike) -> None:
        """Stop the clock of the interval: an evaluation is no part of its steps."""
        self.pause_start_time = time.perf_counter()

    def after_val(self, runner: RunnerLike) -> None:
        """Let the clock go on, behind what other hooks do with the scores, such as saving `best.pth`."""
        self.wait_start_time = time.perf_counter()
        self.start_time += self.wait_start_time - self.pause_start_time

    def after_run(self, runner: RunnerLike) -> None:
        """Close the bar and TensorBoard's file; this is called after an error, too."""
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()
        if self.visualizer is not None:
            self.visualizer.close()
        self.bar = self.writer = self.visualizer = None

    def _reset_interval(self, step: int) -> None:
        """Start a new interval after a step."""
        self.start_time = self.wait_start_time = time.perf_counter()
        self.wait_seconds, self.num_samples, self.loss_sums, self.first_step = 0.0, 0, {}, step

    def _log_interval(self, runner: RunnerLike, step: int) -> None:
        """Write the curve's line of the steps since the last one, and show loss and rate on the bar."""
        seconds = time.perf_counter() - self.start_time
        num_steps = step - self.first_step
        local_means = {name: float(value) / num_steps for name, value in self.loss_sums.items()}
        # here the values are read from the device, once an interval
        means = _average_over_ranks(all_gather_objects(local_means))
        losses = {name: round(value, 6) for name, value in means.items()}
        rate = round(self.num_samples * runner.world_size / seconds, 2)
        line = {
            'step': step,
            **losses,
            'lr': runner.optim_wrapper.get_lr()['lr'][0],
            'samples_per_second': rate,
            'data_wait_fraction': round(self.wait_seconds / seconds, 4),
            **_measure_peak_memory(),
        }
        self._write_curve_line(line)
        if self.bar is not None:
            total_loss = losses.get('loss', 0)
            self.bar.set_note(f'loss {total_loss:.4g}, {rate:.3g} samples/s')

    def _write_curve_line(self, values: dict[str, Any]) -> None:
        """Append a line to the curve, and add its values to TensorBoard."""
        if self.curve_file is None:
            return
        try:
            with open(self.curve_file, 'a') as file:
                file.write(json.dumps(values) + '\n')
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(
                f'{self.curve_file} cannot be written: {reason}; the checkpoints are intact. Free some space or make '
                f'the folder writable, and continue with --resume'
            ) from error
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, values['step'])
        if self.visualizer is not None:
            self.visualizer.add_scalars({k: v for k, v in values.items() if k != 'step'}, step=values['step'])


def has_backends(visualizer: Any) -> bool:
    """Return whether a visualizer of mmengine writes anywhere."""
    return bool(getattr(visualizer, '_vis_backends', None))


def _average_over_ranks(losses: list[dict[str, float]]) -> dict[str, float]:
    """The mean losses of several processes; a loss that a process lacks counts as 0 there."""
    names = {name: None for local_losses in losses for name in local_losses}
    return {name: sum(local_losses.get(name, 0.0) for local_losses in losses) / len(losses) for name in names}


def _truncate_curve(file: Path, step: int) -> None:
    """Drop lines of later steps, which a run resumed at `step` repeats, and lines that were cut off."""
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    valid_lines = [line for line in lines if _parse_curve_step(line) <= step]
    if valid_lines != lines:
        write_atomically(file, ''.join(valid_lines).encode())


def _parse_curve_step(line: str) -> float:
    """The step of a line of the curve; infinite if the line is incomplete."""
    try:
        return json.loads(line)['step']
    except (ValueError, TypeError, KeyError):
        return math.inf


def _measure_peak_memory() -> dict[str, int]:
    """The peak memory of this process as `memory_mib`, on a GPU that of its tensors; empty where it is unknown."""
    if torch.cuda.is_available():
        return {'memory_mib': torch.cuda.max_memory_allocated() >> 20}
    try:
        resource: Any = import_module('resource')  # Windows has no such module
    except ImportError:
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {'memory_mib': peak >> (20 if sys.platform == 'darwin' else 10)}  # macOS counts bytes, Linux KiB


def _create_tensorboard_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    # TensorBoard hides later values of the run before, which a resumed run writes again
    return SummaryWriter(str(folder), purge_step=step + 1)
