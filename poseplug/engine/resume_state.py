"""Random states of a run, and its optimizer and schedules where settings count anew from a checkpoint on."""

from __future__ import annotations

__all__ = ['fast_forward_schedules', 'get_random_state', 'restore_changed_optimizer', 'set_random_state']

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from poseplug.engine.resume_settings import SettingChange

_LOGGER = logging.getLogger('poseplug')
_OPTIMIZER_KEY = 'optim_wrapper.optimizer'
# Settings that an optimizer reads in every step; its state, such as momenta, is the same for any value of them.
_STATELESS_SETTINGS = {'lr', 'weight_decay', 'betas', 'eps', 'momentum', 'dampening', 'nesterov', 'alpha', 'foreach'}


def restore_changed_optimizer(optim_wrapper: Any, state: Mapping[str, Any], changes: Sequence[SettingChange]) -> None:
    """Restore the state of an optimizer under new settings, or start it anew where it would not fit them.

    Args:
        optim_wrapper: with the new settings.
        state: of the checkpoint's optimizer.
        changes: the settings that have changed.
    """
    if hasattr(optim_wrapper, 'scaler') and state.get('scaler'):
        optim_wrapper.scaler.load_state_dict(state['scaler'])
    optimizer = optim_wrapper.optimizer
    new_groups = optimizer.state_dict()['param_groups']
    reason = _find_reason_for_new_state(state, new_groups, changes)
    if reason:
        _LOGGER.warning('the state of the optimizer, such as its momenta, starts anew: %s', reason)
        return
    optimizer.load_state_dict({'state': state['state'], 'param_groups': new_groups})


def _find_reason_for_new_state(
    state: Mapping[str, Any], new_groups: list[dict[str, Any]], changes: Sequence[SettingChange]
) -> str:
    """Why the state of an optimizer does not serve the new settings; empty if it does."""
    for change in changes:
        name = change.key.removeprefix(_OPTIMIZER_KEY).lstrip('.')
        if change.key.startswith(_OPTIMIZER_KEY) and name not in _STATELESS_SETTINGS:
            # momenta of another optimizer, or of other settings that decide what it stores
            return str(change)
    old_sizes = [len(group['params']) for group in state['param_groups']]
    new_sizes = [len(group['params']) for group in new_groups]
    if old_sizes != new_sizes:
        return f'its groups had {old_sizes} parameters, and have {new_sizes} now'
    return ''


def fast_forward_schedules(schedules: Sequence[Any], num_steps: int, steps_per_epoch: int) -> None:
    """Advance new schedules to the step of a checkpoint, as if the run had had them from its start.

    Args:
        schedules: mmengine's, as they are at the start of a run.
        num_steps: of the checkpoint.
        steps_per_epoch: of the run.
    """
    ordered = [schedule for schedule in schedules if not getattr(schedule, 'need_val_args', False)]
    # ReduceOnPlateau and its kind, which are stepped by a score
    by_score = [schedule for schedule in schedules if schedule not in ordered]
    if by_score:
        names = ', '.join(type(schedule).__name__ for schedule in by_score)
        _LOGGER.warning('%s starts anew, since the scores that it followed are not known', names)
    # The schedules multiply the rates of each other, so that the order of steps and epochs counts.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that they are stepped before the optimizer
        for step in range(1, num_steps + 1):
            is_epoch_end = step % steps_per_epoch == 0
            # mmengine steps schedules of steps after every step, and those of epochs after the last step of an epoch
            for by_epoch in (False, True) if is_epoch_end else (False,):
                for schedule in ordered:
                    if schedule.by_epoch == by_epoch:
                        schedule.step()


def get_random_state() -> dict[str, Any]:
    """Return the states of torch's generators. Augmentation has none: it follows from seed, epoch and sample."""
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return {'torch': torch.get_rng_state(), 'cuda': cuda}


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `get_random_state` returned."""
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'][0].cpu())
