"""A loss or a gradient that is not a number does not reach the weights: the run stops, or leaves the step out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor
from torch.nn.utils import get_total_norm

from poseplug.engine.distributed import anywhere, local
from poseplug.errors import ConfigError, NonFiniteLossError
from poseplug.registry import HOOKS

SHOWN = 4  # samples named in the message
LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class FiniteHook(Hook):
    """Looks at losses and gradients before each step of the optimiser, and takes no step that is not finite.

    The run then stops, unless up to `skip` such steps may be left out: their gradients are dropped, each is told with
    its samples, and how many there were is in the checkpoints. Of several processes all stop, or none.
    """

    priority = 'VERY_HIGH'

    def __init__(self, skip: int = 0) -> None:
        if not isinstance(skip, int) or skip < 0:
            raise ConfigError(f'FiniteHook: skip is how many steps may be left out, 0 or more; got {skip!r}')
        self.skip, self.skipped = skip, 0
        self.loss: Tensor | float = float('nan')  # of the last step that was taken
        self._lost: list[Tensor] = []  # of the step at hand: whether each of its losses is finite
        self._left_out = False

    def before_train(self, runner: Any) -> None:
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._check)
        self._watch(runner.optim_wrapper)

    def _watch(self, optim_wrapper: Any) -> None:
        """Note of every loss that is differentiated whether it is a finite number."""
        usual = optim_wrapper.backward

        def backward(loss: Tensor, **settings: Any) -> None:
            self._lost.append(torch.isfinite(loss.detach()))
            usual(loss, **settings)

        optim_wrapper.backward = backward

    def _check(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Drop the gradients of a step that is not finite: optimisers leave parameters without one alone."""
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        gradients = [local(p.grad) for p in parameters if p.grad is not None]
        lost = bool(self._lost) and not torch.stack(self._lost).all()
        spoiled = bool(gradients) and not torch.isfinite(get_total_norm(gradients))
        self._lost = []
        if anywhere(lost or spoiled):
            self._left_out = True
            for parameter in parameters:
                parameter.grad = None

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop, or count, where the step was not taken; a scaled loss that is infinite takes none by itself."""
        outputs = outputs or {}
        self._lost = []
        if not self._left_out and math.isfinite(outputs.get('loss', 0.0)):
            self.loss = outputs.get('loss', 0.0)
            return
        self._left_out = False
        self.skipped += 1
        told = f'step {runner.iter + 1}: {finding(outputs)}; the step was not taken'
        samples = named(runner.train_loop.taken)
        if self.skipped <= self.skip:
            LOGGER.warning('%s (%d of %d that may be left out). Samples: %s', told, self.skipped, self.skip, samples)
            return
        allowed = f', after {self.skip} that were left out' if self.skip else ''
        raise NonFiniteLossError(
            f'{told}{allowed}. The loss before it was {float(self.loss):g}, and the checkpoints in {runner.work_dir} '
            f'are finite. Samples: {samples}. Look at them with tools/dataset.py browse, or lower the learning rate; '
            f'default_hooks.finite.skip=N leaves out up to N such steps'
        )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['meta']['skipped'] = self.skipped

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner._resume:
            self.skipped = checkpoint['meta'].get('skipped', 0)


def finding(outputs: Mapping[str, Any]) -> str:
    """Which losses of a step are not finite; the gradient, where all are."""
    names = [f'{name} is {float(value):g}' for name, value in outputs.items() if not math.isfinite(value)]
    return ', '.join(names) or 'the gradient is not a finite number, though the loss is'


def named(batches: Sequence[Any]) -> str:
    """The first samples of a step's batches by epoch, source and id, and how many more there are."""
    pairs = [pair for batch in batches for pair in zip(batch.records, batch.draws, strict=True)]
    names = [f'{record.source} {record.id} (epoch {draw.epoch})' for record, draw in pairs]
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more
