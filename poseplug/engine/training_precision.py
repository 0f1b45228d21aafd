"""The number format in which the network computes in training: set, or chosen by measuring the first steps."""

from __future__ import annotations

__all__ = ['TRAINING_PRECISIONS', 'TrainingPrecision', 'measure_gradients']

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.core.processors import has_bfloat16_instructions
from poseplug.engine.distributed import all_gather_objects

TRAINING_PRECISIONS = ('fp32', 'bf16', 'auto')
_MEASURED = ('fp32', 'bf16')
_NUM_MEASUREMENTS = 4  # of each precision in turn; the first of each prepares the kernels and does not count
_MIN_GAIN = 1.05  # bf16 rounds, so that it has to be worth it
_MAX_LOSS_DIFFERENCE = 0.02  # relative; over 60 to 100 steps losses of both stayed within 0.006 of each other
_LOGGER = logging.getLogger('poseplug')


class TrainingPrecision:
    """The precision of a run. It is no part of the optimizer, whose settings stay as they are.

    With 'bf16' the network and its losses are computed under torch.autocast, in bfloat16 where that is considered safe.
    Weights, averages, the optimizer and evaluations stay in float32.

    Args:
        setting: 'fp32', 'bf16', or 'auto' for the one that is faster; None is 'fp32'.
        device_type: of the network, such as 'cpu'.

    Attributes:
        name: 'fp32' or 'bf16'; 'auto' until one is chosen.
        reason: why, in words.
        step_seconds: what 'auto' measured: seconds of a step without the update, by precision.

    Raises:
        ConfigError: there is no such precision.

    Example:
        >>> TrainingPrecision('bf16').name
        'bf16'
    """

    def __init__(self, setting: str | None = None, device_type: str = 'cpu'):
        self.name = self.setting = setting or 'fp32'
        if self.name not in TRAINING_PRECISIONS:
            raise ConfigError(f'precision is one of {", ".join(TRAINING_PRECISIONS)}; got {setting!r}')
        self.device_type, self.reason = device_type, 'as set'
        self.step_seconds: dict[str, float] = {}
        # without the instructions bf16 is slower in any case, and measuring it would take long
        if self.is_open and device_type == 'cpu' and not all(all_gather_objects(has_bfloat16_instructions())):
            self.name, self.reason = 'fp32', 'this CPU has no instructions for bf16'

    @property
    def is_open(self) -> bool:
        """Whether it is still to be chosen."""
        return self.name == 'auto'

    def create_context(self) -> AbstractContextManager[Any]:
        """Create the context in which the network and its losses are computed."""
        return torch.autocast(self.device_type, torch.bfloat16) if self.name == 'bf16' else nullcontext()

    def choose_precision(self, compute_gradients: Callable[[], float]) -> None:
        """Measure both precisions in turn, and choose the faster one.

        Args:
            compute_gradients: a step without the update; it returns the loss.
        """
        seconds: dict[str, list[float]] = {name: [] for name in _MEASURED}
        losses = {}
        for _ in range(_NUM_MEASUREMENTS):
            for self.name in _MEASURED:
                start = time.perf_counter()
                losses[self.name] = compute_gradients()
                seconds[self.name].append(time.perf_counter() - start)
        # All processes wait for the slowest one, and have to choose the same.
        # the minimum, since other programs only ever slow a step down
        gathered = all_gather_objects(({name: min(each[1:]) for name, each in seconds.items()}, losses))
        self.step_seconds = {name: max(each[name] for each, _ in gathered) for name in _MEASURED}
        difference = max(abs(each['bf16'] / each['fp32'] - 1) if each['fp32'] else 0.0 for _, each in gathered)
        self._decide_precision(difference)

    def _decide_precision(self, loss_difference: float) -> None:
        """Choose by what was measured; a difference that is not a number speaks against bf16, too."""
        gain = self.step_seconds['fp32'] / self.step_seconds['bf16']
        is_close = loss_difference <= _MAX_LOSS_DIFFERENCE
        self.name = 'bf16' if gain >= _MIN_GAIN and is_close else 'fp32'
        figures = ', '.join(f'{name} {1000 * value:.1f} ms' for name, value in self.step_seconds.items())
        self.reason = f'a step without the update takes: {figures}'
        if not is_close:
            self.reason += (
                f'; the loss differs by {100 * loss_difference:.1f} % (at most {100 * _MAX_LOSS_DIFFERENCE:g})'
            )
        _LOGGER.info('precision %s: %s', self.name, self.reason)

    def describe_choice(self) -> dict[str, Any]:
        """Return the choice and its figures, for checkpoints."""
        return {'name': self.name, 'reason': self.reason, 'step_seconds': dict(self.step_seconds)}

    def restore_choice(self, choice: Mapping[str, Any] | None) -> None:
        """Continue with the choice of a checkpoint.

        Args:
            choice: as `describe_choice` returned it; None in a checkpoint without one.
        """
        if self.setting != 'auto' or not choice or choice['name'] == 'auto':
            return
        self.name, self.reason, self.step_seconds = choice['name'], choice['reason'], dict(choice['step_seconds'])
        _LOGGER.info('precision %s, as the run began: %s', self.name, self.reason)


def measure_gradients(model: nn.Module, compute_losses: Callable[[], Mapping[str, Tensor]]) -> float:
    """Compute the gradients of losses for a measurement, and leave model and random numbers as they were.

    Args:
        model: its parameters are trained; they have no gradients before and after.
        compute_losses: the losses by name.

    Returns:
        Their sum.
    """
    # running statistics would otherwise count the measured batches
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    # dropout draws the same numbers in the first step as without a measurement
    with torch.random.fork_rng():
        total = torch.stack(list(compute_losses().values())).sum()
        total.backward()
        loss = float(total.detach())
        # kernels run on after the call has returned, and the clock has to include them
        if total.device.type == 'cuda':
            torch.cuda.synchronize()
    model.zero_grad()
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return loss
