"""Training phases: settings of a model, such as loss weights, that change at some points of a run."""

from __future__ import annotations

__all__ = ['PhaseHook']

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from poseplug.core.errors import ConfigError
from poseplug.engine.runner_types import RunnerLike
from poseplug.engine.schedule_lengths import fraction_to_steps
from poseplug.registry import HOOKS

_LOGGER = logging.getLogger('poseplug')


@HOOKS.register_module()
class PhaseHook(Hook):
    """Changes settings of a model, such as its loss weights, during a run by calling its method `set_phase`.

    The settings of a phase hold in all later ones, too, unless these change them; `loss_weights` are merged loss by
    loss. The phase follows from the step alone, so that a resumed run is in the same one. A phase that begins after the
    end of the run is reported.

    Args:
        phases: the settings of each training phase by its first epoch, counted from 0, or by the fraction of the run
            before it, from 0 to 1, with a point. They are arguments of the model's `set_phase`; those of `OneStage` are
            `loss_weights`, `proxy_target` and `overlaps_power`.

    Raises:
        ConfigError: `phases` is empty or is no dict from epochs or fractions to settings.
    """

    priority = 'HIGH'

    def __init__(self, phases: Mapping[float | str, Mapping[str, Any]]):
        try:
            self.phases = {_parse_phase_start(start): dict(settings) for start, settings in phases.items()}
        except (AttributeError, TypeError, ValueError):
            raise ConfigError(f'PhaseHook: phases maps epochs or fractions to settings; got {phases!r}') from None
        if not self.phases or min(self.phases) < 0:
            raise ConfigError(f'PhaseHook: phases begin at epochs from 0 on; got {sorted(self.phases)}')
        self.start_steps: dict[float, int] = {}  # of the phases, in their order
        self.phase_start: float | None = None
        self.is_phase_set = False  # in this process: `before_train` leaves the model in the last phase

    def before_train(self, runner: RunnerLike) -> None:
        """Set every phase once, so that a wrong setting is an error at the start and not at its epoch."""
        model: Any = runner.bare_model
        if not hasattr(model, 'set_phase'):
            raise ConfigError(
                f'PhaseHook sets the training phase of a model, but {type(model).__name__} has no phases (no method '
                f'`set_phase`); remove the hook'
            )
        max_iters, steps_per_epoch = runner.max_iters, runner.train_loop.steps_per_epoch
        steps = {s: fraction_to_steps(s, max_iters, steps_per_epoch, 'PhaseHook: phases') for s in self.phases}
        self.start_steps = dict(sorted(steps.items(), key=lambda item: item[1]))
        for start, step in self.start_steps.items():
            self._set_phase(runner, step, f'the phase from {start}')
            if step >= max_iters:
                message = 'PhaseHook: the phase from %s begins at step %d, which is not reached: the run has %d steps'
                _LOGGER.warning(message, start, step, max_iters)

    def before_train_iter(self, runner: RunnerLike, batch_idx: int, data_batch: Any = None) -> None:
        """Set the phase of the step; a new one is logged."""
        starts = [start for start, step in self.start_steps.items() if step <= runner.iter]
        phase_start = starts[-1] if starts else None
        is_new = phase_start != self.phase_start
        if self.is_phase_set and not is_new:
            return
        phase = self._set_phase(runner, runner.iter, f'epoch {runner.epoch}')
        if is_new or runner.iter == 0:
            _LOGGER.info('epoch %d: training phase %s', runner.epoch, phase)
        self.phase_start, self.is_phase_set = phase_start, True

    def _set_phase(self, runner: RunnerLike, step: int, position: str) -> Any:
        """Apply the settings of a step and return the model's phase."""
        model: Any = runner.bare_model
        try:
            return model.set_phase(**self.get_phase_settings(step))
        except TypeError as error:
            raise ConfigError(f'PhaseHook, {position}: {error}') from None

    def get_phase_settings(self, step: int) -> dict[str, Any]:
        """Merge the settings of all phases that have started by a step; later ones replace earlier ones.

        Args:
            step: of the run, counted from 0.

        Returns:
            The arguments of `set_phase`.
        """
        settings: dict[str, Any] = {}
        for phase_start in (start for start, start_step in self.start_steps.items() if start_step <= step):
            changes = dict(self.phases[phase_start])
            if 'loss_weights' in changes:
                changes['loss_weights'] = {**settings.get('loss_weights', {}), **changes['loss_weights']}
            settings.update(changes)
        return settings


def _parse_phase_start(start: float | str) -> float:
    """An epoch as a whole number, or a fraction of the run as a float; keys of dicts from options are text."""
    return float(start) if isinstance(start, float) or '.' in str(start) else int(start)
