"""Training phases: settings of a model, such as loss weights, that change at some epochs."""

from __future__ import annotations

__all__ = ['PhaseHook']

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError
from poseplug.engine.runner_types import RunnerLike
from poseplug.registry import HOOKS

_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class PhaseHook(Hook):
    """Changes settings of a model, such as its loss weights, at some epochs by calling its method `set_phase`.

    The settings of a phase hold in all later ones, too, unless these change them; `loss_weights` are merged loss by
    loss. The phase follows from the epoch alone, so that a resumed run is in the same one.

    Args:
        phases: the settings of each training phase by its first epoch, counted from 0. They are arguments of the
            model's `set_phase`; those of `OneStage` are `loss_weights`, `proxy_target` and `overlaps_power`.

    Raises:
        ConfigError: `phases` is empty or is no dict from epochs to settings.
    """

    priority = 'HIGH'

    def __init__(self, phases: Mapping[int | str, Mapping[str, Any]]):
        try:
            # keys of options from the command line are text
            self.phases = {int(epoch): dict(settings) for epoch, settings in phases.items()}
        except (TypeError, ValueError):
            raise ConfigError(f'PhaseHook: phases maps epochs to settings; got {phases!r}') from None
        if not self.phases or min(self.phases) < 0:
            raise ConfigError(f'PhaseHook: phases begin at epochs from 0 on; got {sorted(self.phases)}')
        self.phase_start: int | None = None

    def before_train(self, runner: RunnerLike) -> None:
        """Set every phase once, so that a wrong setting is an error at the start and not at its epoch."""
        model: Any = runner.bare_model
        if not hasattr(model, 'set_phase'):
            raise ConfigError(
                f'PhaseHook sets the training phase of a model, but {type(model).__name__} has no phases (no method '
                f'`set_phase`); remove the hook'
            )
        for epoch in sorted(self.phases):
            self._set_phase(runner, epoch)

    def before_train_epoch(self, runner: RunnerLike) -> None:
        """Set the phase of the epoch; a new one is logged."""
        phase_start = max((epoch for epoch in self.phases if epoch <= runner.epoch), default=None)
        phase = self._set_phase(runner, runner.epoch)
        if phase_start != self.phase_start or runner.iter == 0:
            _LOGGER.info('epoch %d: training phase %s', runner.epoch, phase)
        self.phase_start = phase_start

    def _set_phase(self, runner: RunnerLike, epoch: int) -> Any:
        """Apply the settings of an epoch and return the model's phase."""
        model: Any = runner.bare_model
        try:
            return model.set_phase(**self.get_phase_settings(epoch))
        except TypeError as error:
            raise ConfigError(f'PhaseHook, epoch {epoch}: {error}') from None

    def get_phase_settings(self, epoch: int) -> dict[str, Any]:
        """Merge the settings of all phases that have started by an epoch; later ones replace earlier ones.

        Args:
            epoch: counted from 0.

        Returns:
            The arguments of `set_phase`.
        """
        settings: dict[str, Any] = {}
        for phase_start in sorted(e for e in self.phases if e <= epoch):
            changes = dict(self.phases[phase_start])
            if 'loss_weights' in changes:
                changes['loss_weights'] = {**settings.get('loss_weights', {}), **changes['loss_weights']}
            settings.update(changes)
        return settings
