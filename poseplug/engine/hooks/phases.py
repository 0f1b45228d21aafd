"""A model is trained for other things from some epochs on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from poseplug.errors import ConfigError
from poseplug.registry import HOOKS

LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class PhaseHook(Hook):
    """Tells the model's `enter` what it is trained for: `phases` maps an epoch, counted from 0, to what changes there.

    What one phase names holds in the later ones, too, unless they name it again; `weights` of losses are joined name by
    name. Which phase it is follows from the epoch alone, so that it is the same in a run that was resumed.
    """

    priority = 'HIGH'

    def __init__(self, phases: Mapping[int | str, Mapping[str, Any]]):
        try:
            self.phases = {int(epoch): dict(changes) for epoch, changes in phases.items()}
        except (TypeError, ValueError):
            raise ConfigError(f'PhaseHook: phases maps epochs to settings; got {phases!r}') from None
        if not self.phases or min(self.phases) < 0:
            raise ConfigError(f'PhaseHook: phases begin at epochs from 0 on; got {sorted(self.phases)}')
        self.epoch: int | None = None

    def before_train(self, runner: Any) -> None:
        """Ask for every phase once, so that a wrong setting is told at once and not at its epoch."""
        if not hasattr(runner.bare_model, 'enter'):
            raise ConfigError(
                f'PhaseHook changes what a model is trained for, but {type(runner.bare_model).__name__} has no phases '
                f'(no method `enter`); leave the hook out'
            )
        for epoch in sorted(self.phases):
            self._enter(runner, epoch)

    def before_train_epoch(self, runner: Any) -> None:
        begun = max((epoch for epoch in self.phases if epoch <= runner.epoch), default=None)
        phase = self._enter(runner, runner.epoch)
        if begun != self.epoch or runner.iter == 0:
            LOGGER.info('epoch %d: trained for %s', runner.epoch, phase)
        self.epoch = begun

    def _enter(self, runner: Any, epoch: int) -> Any:
        try:
            return runner.bare_model.enter(**self.at(epoch))
        except TypeError as error:
            raise ConfigError(f'PhaseHook, epoch {epoch}: {error}') from None

    def at(self, epoch: int) -> dict[str, Any]:
        """What all phases that have begun name, the last one that names it counting."""
        settings: dict[str, Any] = {}
        for begin in sorted(e for e in self.phases if e <= epoch):
            changes = dict(self.phases[begin])
            if 'weights' in changes:
                changes['weights'] = {**settings.get('weights', {}), **changes['weights']}
            settings.update(changes)
        return settings
