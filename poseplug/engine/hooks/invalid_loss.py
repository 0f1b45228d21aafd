"""Stops a run, or skips a step, if a loss or a gradient is not finite."""

from __future__ import annotations

__all__ = ['CheckInvalidLossHook']

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from torch import Tensor

from poseplug.core.errors import ConfigError, NonFiniteLossError
from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

_MAX_LISTED_SAMPLES = 4  # samples named in the message
_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class CheckInvalidLossHook(Hook):
    """Stops a run at a loss or a gradient that is not finite, or skips and logs a number of such steps.

    The strategy (`poseplug.engine.strategy`) drops the gradients before they reach the weights, in all processes. The
    number of skipped steps is part of the checkpoints.

    Args:
        max_skipped_steps: the number of steps that may be skipped in a run; the next one stops it.

    Raises:
        ConfigError: the number is negative or no integer.
    """

    priority = 'VERY_HIGH'

    def __init__(self, max_skipped_steps: int = 0) -> None:
        if not isinstance(max_skipped_steps, int) or max_skipped_steps < 0:
            raise ConfigError(
                f'CheckInvalidLossHook: max_skipped_steps is the number of steps that may be skipped, 0 or more; got '
                f'{max_skipped_steps!r}'
            )
        self.max_skipped_steps, self.num_skipped_steps = max_skipped_steps, 0
        self.last_finite_loss: Tensor | float = float('nan')  # of the last step that was taken

    def before_train(self, runner: RunnerLike) -> None:
        """Let the strategy check every step."""
        runner.strategy.drops_invalid_steps = True

    def after_train_iter(
        self, runner: RunnerLike, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Count a step that was not taken, or stop the run.

        Raises:
            NonFiniteLossError: more than `max_skipped_steps` steps were not taken.
        """
        outputs = outputs or {}
        # The loss scaler of float16 skips a step with an infinite loss by itself, before the strategy's check.
        if not runner.strategy.step_dropped and math.isfinite(outputs.get('loss', 0.0)):
            self.last_finite_loss = outputs.get('loss', 0.0)
            return
        self.num_skipped_steps += 1
        problem = f'step {runner.iter + 1}: {_describe_invalid_losses(outputs)}; the step was not taken'
        samples = _describe_samples(runner.train_loop.step_batches)
        if self.num_skipped_steps <= self.max_skipped_steps:
            message = '%s (%d of %d steps that may be skipped). Samples: %s'
            _LOGGER.warning(message, problem, self.num_skipped_steps, self.max_skipped_steps, samples)
            return
        earlier = f', after {self.max_skipped_steps} skipped steps' if self.max_skipped_steps else ''
        raise NonFiniteLossError(
            f'{problem}{earlier}. The loss before it was {float(self.last_finite_loss):g}, and the checkpoints in '
            f'{runner.work_dir} are finite. Samples: {samples}. Look at them with poseplug dataset browse, or lower '
            f'the learning rate; default_hooks.check_invalid_loss.max_skipped_steps=N skips up to N such steps'
        )

    def before_save_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Save the number of skipped steps."""
        checkpoint['meta']['skipped_steps'] = self.num_skipped_steps

    def after_load_checkpoint(self, runner: RunnerLike, checkpoint: dict[str, Any]) -> None:
        """Restore the number of skipped steps of a resumed run."""
        if runner.is_resumed:
            self.num_skipped_steps = checkpoint['meta'].get('skipped_steps', 0)


def _describe_invalid_losses(outputs: Mapping[str, Any]) -> str:
    """The losses of a step that are not finite, or the gradient if all losses are finite."""
    names = [f'{name} is {float(value):g}' for name, value in outputs.items() if not math.isfinite(value)]
    return ', '.join(names) or 'the gradient is not a finite number, though the loss is'


def _describe_samples(batches: Sequence[Any]) -> str:
    """The first samples of a step's batches by source, id and epoch, and the number of further ones."""
    pairs = [pair for batch in batches for pair in zip(batch.records, batch.keys, strict=True)]
    names = [f'{record.source} {record.id} (epoch {key.epoch})' for record, key in pairs]
    num_unlisted = len(names) - _MAX_LISTED_SAMPLES
    more = f' and {num_unlisted} more' if num_unlisted > 0 else ''
    return ', '.join(names[:_MAX_LISTED_SAMPLES]) + more
