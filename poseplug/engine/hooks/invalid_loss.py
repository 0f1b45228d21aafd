"""A loss or a gradient that is not a number does not reach the weights: the run stops, or leaves the step out."""

from __future__ import annotations

__all__ = ['CheckInvalidLossHook']

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor
from torch.nn.utils import get_total_norm

from poseplug.core.errors import ConfigError, NonFiniteLossError
from poseplug.engine.distributed import all_reduce_any, to_local_tensor
from poseplug.registry import HOOKS

_MAX_LISTED_SAMPLES = 4  # samples named in the message
_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class CheckInvalidLossHook(Hook):
    """Looks at losses and gradients before each step of the optimiser, and takes no step that is not finite.

    The run then stops, unless up to `max_skipped_steps` such steps may be left out: their gradients are dropped, each
    is told with its samples, and how many there were is in the checkpoints. Of several processes all stop, or none.
    """

    priority = 'VERY_HIGH'

    def __init__(self, max_skipped_steps: int = 0) -> None:
        if not isinstance(max_skipped_steps, int) or max_skipped_steps < 0:
            raise ConfigError(
                f'CheckInvalidLossHook: max_skipped_steps is how many steps may be left out, 0 or more; got '
                f'{max_skipped_steps!r}'
            )
        self.max_skipped_steps, self.num_skipped_steps = max_skipped_steps, 0
        self.last_finite_loss: Tensor | float = float('nan')  # of the last step that was taken
        self._losses_finite: list[Tensor] = []  # of the step at hand: whether each of its losses is finite
        self._step_skipped = False

    def before_train(self, runner: Any) -> None:
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._drop_invalid_gradients)
        self._wrap_backward(runner.optim_wrapper)

    def _wrap_backward(self, optim_wrapper: Any) -> None:
        """Note of every loss that is differentiated whether it is a finite number."""
        usual = optim_wrapper.backward

        def backward(loss: Tensor, **settings: Any) -> None:
            self._losses_finite.append(torch.isfinite(loss.detach()))
            usual(loss, **settings)

        optim_wrapper.backward = backward

    def _drop_invalid_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Drop the gradients of a step that is not finite: optimisers leave parameters without one alone."""
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [to_local_tensor(p.grad) for p in parameters if p.grad is not None]
        lost = bool(self._losses_finite) and not torch.stack(self._losses_finite).all()
        spoiled = bool(gradients) and not torch.isfinite(get_total_norm(gradients))
        self._losses_finite = []
        if all_reduce_any(lost or spoiled):
            self._step_skipped = True
            for parameter in parameters:
                parameter.grad = None

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop, or count, where the step was not taken; a scaled loss that is infinite takes none by itself."""
        outputs = outputs or {}
        self._losses_finite = []
        if not self._step_skipped and math.isfinite(outputs.get('loss', 0.0)):
            self.last_finite_loss = outputs.get('loss', 0.0)
            return
        self._step_skipped = False
        self.num_skipped_steps += 1
        told = f'step {runner.iter + 1}: {_describe_invalid_losses(outputs)}; the step was not taken'
        samples = _describe_samples(runner.train_loop.step_batches)
        if self.num_skipped_steps <= self.max_skipped_steps:
            _LOGGER.warning(
                '%s (%d of %d that may be left out). Samples: %s',
                told,
                self.num_skipped_steps,
                self.max_skipped_steps,
                samples,
            )
            return
        allowed = f', after {self.max_skipped_steps} that were left out' if self.max_skipped_steps else ''
        raise NonFiniteLossError(
            f'{told}{allowed}. The loss before it was {float(self.last_finite_loss):g}, and the checkpoints in '
            f'{runner.work_dir} are finite. Samples: {samples}. Look at them with tools/dataset.py browse, or lower '
            f'the learning rate; default_hooks.check_invalid_loss.max_skipped_steps=N leaves out up to N such steps'
        )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta']['skipped_steps'] = self.num_skipped_steps

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner._resume:
            self.num_skipped_steps = checkpoint['meta'].get('skipped_steps', 0)


def _describe_invalid_losses(outputs: Mapping[str, Any]) -> str:
    """Which losses of a step are not finite; the gradient, where all are."""
    names = [f'{name} is {float(value):g}' for name, value in outputs.items() if not math.isfinite(value)]
    return ', '.join(names) or 'the gradient is not a finite number, though the loss is'


def _describe_samples(batches: Sequence[Any]) -> str:
    """The first samples of a step's batches by epoch, source and id, and how many more there are."""
    pairs = [pair for batch in batches for pair in zip(batch.records, batch.keys, strict=True)]
    names = [f'{record.source} {record.id} (epoch {key.epoch})' for record, key in pairs]
    more = f' and {len(names) - _MAX_LISTED_SAMPLES} more' if len(names) > _MAX_LISTED_SAMPLES else ''
    return ', '.join(names[:_MAX_LISTED_SAMPLES]) + more
