"""Freezes parts of a model for the first part of a run."""

from __future__ import annotations

__all__ = ['FreezeHook']

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.engine.freeze import find_frozen_names, freeze_parameters
from poseplug.engine.runner_types import RunnerLike
from poseplug.engine.schedule_lengths import fraction_to_steps
from poseplug.registry import HOOKS

_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class FreezeHook(Hook):
    """Keeps parameters and running statistics as they are in the first epochs, and trains them from then on.

    A config writes `freeze=dict(patterns=['^backbone'], epochs=2)`. Whether they are frozen follows from the step
    alone, so that a resumed run is exact.

    Args:
        patterns: regular expressions, as in `poseplug.engine.freeze.freeze_parameters`.
        epochs: the number of epochs, or, as a float below 1, the fraction of the run.

    Raises:
        ConfigError: `epochs` is neither, or a pattern matches nothing.
    """

    def __init__(self, patterns: Sequence[str], epochs: float):
        is_fraction = isinstance(epochs, float) and 0 < epochs < 1
        if not is_fraction and (not isinstance(epochs, int) or epochs < 1):
            raise ConfigError(
                f'freeze: epochs is the number of epochs, at least 1, or a fraction of the run, above 0 and below 1; '
                f'got {epochs!r}'
            )
        self.patterns, self.epochs = patterns, epochs
        self.parameters: list[nn.Parameter] = []  # that are frozen now
        self.norm_names: list[str] = []
        self.num_steps = 0

    def before_train(self, runner: RunnerLike) -> None:
        """Freeze the parameters, if the run is in one of the first epochs."""
        model: Any = runner.bare_model
        max_iters, steps_per_epoch = runner.max_iters, runner.train_loop.steps_per_epoch
        self.num_steps = fraction_to_steps(self.epochs, max_iters, steps_per_epoch, 'freeze.epochs')
        if self.num_steps >= max_iters:
            message = 'freeze: %s stay frozen in the whole run, which has %d epochs and epochs=%d'
            _LOGGER.warning(message, ', '.join(self.patterns), runner.train_loop.max_epochs, self.epochs)
        # before the return, so that a wrong pattern is an error of resumed runs, too
        names = find_frozen_names(model, self.patterns)
        if runner.iter >= self.num_steps:
            return
        # those that the config freezes for the whole run are not among them
        self.parameters = [p for n, p in model.named_parameters() if n in names and p.requires_grad]
        self.norm_names = freeze_parameters(model, self.patterns)
        runner.frozen_norms.extend(self.norm_names)

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Train the parameters from the step on in which they are due."""
        if runner.iter < self.num_steps or not self.parameters:
            return
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        runner.frozen_norms[:] = [name for name in runner.frozen_norms if name not in self.norm_names]
        # the batch norms are still in evaluation mode
        runner.set_train_mode()
        _LOGGER.info('epoch %d: %d frozen parameter tensors are trained from here', runner.epoch, len(self.parameters))
        # the sign that there is nothing left to do
        self.parameters = []
