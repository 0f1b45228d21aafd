"""A run stops before a loss or a gradient that is not a number reaches the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor
from torch.nn.utils import get_total_norm

from poseplug.errors import NonFiniteLossError
from poseplug.registry import HOOKS

SHOWN = 4  # samples named in the message


@HOOKS.register_module()
class FiniteHook(Hook):
    """Looks at all gradients before each step of the optimiser, and at the loss before anything else sees it."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.loss: Tensor | float = float('nan')

    def before_train(self, runner: Any) -> None:
        self.runner = runner
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._check)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """A loss may be NaN and its gradient finite, or absent: the step did no harm then, but the run is no good."""
        loss = (outputs or {}).get('loss', 0.0)
        if not math.isfinite(loss):
            raise self._error(f'the loss is {float(loss):g}, though its gradient was finite')
        self.loss = loss

    def _check(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if gradients and not torch.isfinite(get_total_norm(gradients)):
            raise self._error('the loss or its gradient is not a finite number; the step was not taken')

    def _error(self, finding: str) -> NonFiniteLossError:
        samples = named(self.runner.train_loop.taken)
        return NonFiniteLossError(
            f'step {self.runner.iter + 1}: {finding}. The loss before it was {float(self.loss):g}, and the checkpoints '
            f'in {self.runner.work_dir} are finite. Samples: {samples}. Look at them with tools/dataset.py browse, or '
            f'lower the learning rate'
        )


def named(batches: Sequence[Any]) -> str:
    """The first samples of a step's batches by epoch, source and id, and how many more there are."""
    pairs = [pair for batch in batches for pair in zip(batch.records, batch.draws, strict=True)]
    names = [f'{record.source} {record.id} (epoch {draw.epoch})' for record, draw in pairs]
    more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more
