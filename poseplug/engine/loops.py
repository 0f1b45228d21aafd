"""The training loop on mmengine's runner. A run's position is its step: it resumes exactly."""

from __future__ import annotations

__all__ = ['TrainLoop']

import logging
import time
from collections.abc import Mapping
from typing import Any

from mmengine.runner import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, PluginError
from poseplug.core.setting_checks import check_counts, check_not_negative, check_positive
from poseplug.data.samplers import EpochBatchSampler, MultiSourceBatchSampler
from poseplug.engine.distributed import all_reduce_any, all_reduce_max, wait_for_all_ranks
from poseplug.engine.distributed_strategies import parse_distributed_cfg
from poseplug.engine.runner_types import RunnerLike
from poseplug.engine.schedule_lengths import fraction_to_steps
from poseplug.engine.signals import StopSignalHandler
from poseplug.engine.training_step import train_step
from poseplug.registry import LOOPS

_LOGGER = logging.getLogger('poseplug')


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Trains in steps over shuffled batches, with evaluations in between.

    A step is one update of the weights. It takes as many batches as the optimizer wrapper accumulates, and equals a
    step on one batch of all their samples. Everything that counts steps or epochs counts updates.

    Args:
        runner: the runner; it provides the strategy, which computes the steps, and the hooks.
        dataloader: yields training batches endlessly.
        max_steps: the number of steps; give either this or `max_epochs`.
        max_epochs: the number of epochs.
        val_interval: steps, or epochs with `max_epochs`, between evaluations; 0 evaluates at the end alone. A float is
            a fraction of the run, such as 0.1 for ten evaluations.
        val_loss: whether evaluations also compute the loss of the validation set, as 'loss_val'.
        max_minutes: a time limit. The run is saved and evaluated when it is reached, and can be resumed, which starts
            the time anew. None sets no limit.
        distributed: how several processes train the model (`parse_distributed_cfg` in
            `poseplug.engine.distributed_strategies`).

    Attributes:
        stop_reason: why the run ended before its last step; None if it did not.

    Raises:
        ConfigError: not exactly one of `max_steps` and `max_epochs` is given, or a number is too small.
    """

    def __init__(
        self,
        runner: RunnerLike,
        dataloader: DataLoader,
        max_steps: int | None = None,
        max_epochs: int | None = None,
        val_interval: float = 0,
        val_loss: bool = False,
        max_minutes: float | None = None,
        distributed: str | Mapping[str, Any] | None = None,
    ):
        super().__init__(runner, dataloader)
        parse_distributed_cfg(distributed)  # a check only: the runner has built the strategy
        if (max_steps is None) == (max_epochs is None):
            raise ConfigError(
                f'train_cfg needs either max_steps or max_epochs, at least 1; got max_steps={max_steps}, '
                f'max_epochs={max_epochs}'
            )
        lengths = dict(max_steps=max_steps, max_epochs=max_epochs)
        check_counts('train_cfg', **{name: value for name, value in lengths.items() if value is not None})
        check_not_negative('train_cfg', val_interval=val_interval)
        check_positive('train_cfg', **({} if max_minutes is None else {'max_minutes': max_minutes}))
        sampler: Any = dataloader.batch_sampler
        self.batch_sampler: EpochBatchSampler | MultiSourceBatchSampler = sampler
        self.accumulative_counts: int = runner.accumulative_counts
        # `batch_size` counts the samples of one process
        self.samples_per_step = sampler.batch_size * sampler.world_size * self.accumulative_counts
        # rounded up: the loader is endless, so that the last step of an epoch is filled by batches of the next one
        self.steps_per_epoch = -(-len(sampler) // self.accumulative_counts)
        self.step_batches: list[Batch] = []  # the batches of the current step
        self.steps_per_unit = 1 if max_epochs is None else self.steps_per_epoch
        self._max_iters: int = max_steps or (max_epochs or 0) * self.steps_per_epoch
        self._max_epochs = -(-self._max_iters // self.steps_per_epoch)
        # samples carry their position in the run, since loader workers load those of later steps ahead
        sampler.num_run_batches = self._max_iters * self.accumulative_counts
        sampler.num_epoch_batches = self.steps_per_epoch * self.accumulative_counts
        # step 0 counts as evaluated, so that no run begins with the scores of random weights
        self._iter, self._epoch, self.evaluated_step = 0, 0, 0
        # mmengine's runner passes both on to hooks of other packages
        self.val_interval, self.val_begin = self.interval_to_steps(val_interval, 'train_cfg.val_interval'), 1
        self.stop_training, self.stop_handler = False, StopSignalHandler()
        self.val_loss, self.max_minutes = val_loss, max_minutes
        self.stop_reason: str | None = None
        self._start_time = time.monotonic()

    def interval_to_steps(self, interval: float, name: str) -> int:
        """Return an interval in steps; one above 0 is at least one step.

        Args:
            interval: a number of steps, or of epochs if the loop counts these; or a fraction of the run, as a float.
            name: of the setting, for the message.

        Raises:
            ConfigError: a fraction is not between 0 and 1.
        """
        steps = fraction_to_steps(interval, self._max_iters, self.steps_per_unit, name)
        return max(1, steps) if interval else 0

    @property
    def max_iters(self) -> int:
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        return self._max_epochs

    @property
    def iter(self) -> int:
        return self._iter

    @property
    def epoch(self) -> int:
        return self._epoch

    def run(self) -> nn.Module:
        """Train from the current step to the last one, or until a signal or a hook stops the run.

        Returns:
            The model.

        Raises:
            KeyboardInterrupt, SystemExit: a signal stopped the run; the current step was finished and saved.
        """
        runner, self._start_time = self.runner, time.monotonic()
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        # the sampler skips what a resumed run has trained on; it counts batches, of which a step takes several
        self.batch_sampler.start_step = self._iter * self.accumulative_counts
        with StopSignalHandler() as self.stop_handler:
            self._run_steps()
        runner.call_hook('after_train')
        if self.stop_reason is not None:
            _LOGGER.info('ended at step %d of %d: %s', self._iter, self._max_iters, self.stop_reason)
        if self.stop_handler.received_signal is not None:
            # torchrun ends all processes as soon as one has exited, and the first may still be saving
            wait_for_all_ranks()
            _LOGGER.info('stopped at step %d of %d and saved; continue with --resume', self._iter, self._max_iters)
        self.stop_handler.exit_if_signaled()
        return runner.model

    def _run_steps(self) -> None:
        """Run the remaining steps with the evaluations between them and the one at the end."""
        self.runner.set_train_mode()
        # opening a loader starts its workers, which a finished run does not need
        loader = iter(self.dataloader) if self._iter < self._max_iters else iter(())
        # A signal or the time limit is asked for between steps only, where weights, optimizer and schedules belong to
        # one step.
        while self._iter < self._max_iters and not self.should_stop():
            if self.val_interval and self._iter % self.val_interval == 0:
                self.evaluate_model()
                if self.should_stop():
                    break
            self.run_step([next(loader) for _ in range(self.accumulative_counts)])
        # After a signal a scheduler gives little time, which is for saving; the time limit is planned and evaluates.
        if not self.is_stop_requested():
            self.evaluate_model()

    def should_stop(self) -> bool:
        """Whether a hook, a signal or the time limit has ended the run."""
        if self.max_minutes is not None and self._is_time_over(self.max_minutes):
            self.request_stop(f'the time limit of {self.max_minutes:g} minutes; continue with --resume')
        return self.stop_training or self.is_stop_requested()

    def request_stop(self, reason: str) -> None:
        """End the run after the current step.

        Args:
            reason: why, for the line that is logged at the end.
        """
        self.stop_training, self.stop_reason = True, self.stop_reason or reason

    def _is_time_over(self, max_minutes: float) -> bool:
        """Whether the time limit is reached in some process; all processes use the same answer."""
        return all_reduce_any(time.monotonic() - self._start_time >= 60 * max_minutes)

    def is_stop_requested(self) -> bool:
        """Whether a signal asked this process, or another one of the run, to stop."""
        # a scheduler may signal one process alone; the largest number counts, so that all exit with the same code
        self.stop_handler.received_signal = all_reduce_max(self.stop_handler.received_signal or 0) or None
        return self.stop_handler.received_signal is not None

    def run_step(self, batches: list[Batch]) -> None:
        """Update the weights once, and end the epoch if this was its last step.

        Args:
            batches: the accumulated batches of the step. Hooks receive the last one as `data_batch`.
        """
        runner, self.step_batches = self.runner, batches
        # before the hooks, since the precision is chosen by steps that leave no trace; later calls do nothing
        runner.strategy.choose_precision(batches[0])
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batches[-1])
        outputs = train_step(runner.strategy, batches)
        runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batches[-1], outputs=outputs)
        self._iter += 1
        if self._iter % self.steps_per_epoch == 0:
            runner.call_hook('after_train_epoch')
            self._epoch += 1
            runner.call_hook('before_train_epoch')

    def evaluate_model(self) -> None:
        """Evaluate the weights of this step, unless that was done before.

        An evaluation that a signal interrupted does not count: it is repeated when the run is resumed.
        """
        if self.runner.val_loop is not None and self.evaluated_step != self._iter:
            try:
                scores = self.runner.val_loop.run()
            except PluginError:
                # A metric's own error comes after the step, which a checkpoint keeps. Of several processes one alone
                # may have it, and saving would wait for the others.
                if self.runner.world_size == 1 and self._iter:
                    self.runner.call_hook('after_train')
                raise
            self.runner.set_train_mode()
            if scores is None:
                return
        self.evaluated_step = self._iter

    def resume_from(self, step: int, evaluated_step: int) -> None:
        """Set the position of a checkpoint.

        Args:
            step: the number of steps that the checkpoint has been trained for.
            evaluated_step: the last step whose weights were evaluated.
        """
        self._iter, self._epoch, self.evaluated_step = step, step // self.steps_per_epoch, evaluated_step
