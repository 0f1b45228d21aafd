"""The state of a run as a checkpoint holds it: collects it while the run trains, and restores it when it is resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import EMAHook

from poseplug.core.version import __version__
from poseplug.engine import distributed, resume_state
from poseplug.engine.resume_settings import SettingChange
from poseplug.engine.runner_types import RunnerLike
from poseplug.files.model_record import describe_model
from poseplug.files.skeleton_record import describe_skeleton
from poseplug.files.weights import select_weights

_LOGGER = logging.getLogger('poseplug')


def collect_run_state(runner: RunnerLike) -> dict[str, Any]:
    """Return everything that a resumed run needs, with the entries that hooks add. All processes must call this.

    Args:
        runner: of a run whose training has begun.

    Returns:
        The content of a checkpoint. Its tensors are copies: training may go on while they are written.
    """
    content = {
        'meta': {
            'step': runner.iter,
            'evaluated_step': runner.train_loop.evaluated_step,
            'version': __version__,
            'config': runner.config_text,
            'seed': runner.seed,
            'skeleton': describe_skeleton(runner.bare_model.skeleton),
            'model': describe_model(runner.bare_model),
            'run_counts': count_run(runner),
            'precision': runner.strategy.precision.describe_choice(),
        },
        # copies, since EMAHook exchanges weights and averages in place
        'state_dict': {k: v.detach().clone() for k, v in runner.bare_model.state_dict().items()},
        'optimizer': runner.optim_wrapper.state_dict(),
        'param_schedulers': [s.state_dict() for s in runner.param_schedulers or []],
        'random_state': distributed.all_gather_objects(resume_state.get_random_state()),
    }
    runner.call_hook('before_save_checkpoint', checkpoint=content)
    full_content: dict[str, Any] = runner.strategy.gather_state(content)
    return full_content


def count_run(runner: RunnerLike) -> dict[str, int | str]:
    """Count the samples that a run's course depends on, and recognize their labels, by the setting they follow from.

    Args:
        runner: whose data set is open.
    """
    num_samples = len(runner.train_loop.dataloader.dataset)
    counts: dict[str, int | str] = {
        'train_dataloader.batch_size, in all processes': runner.train_loop.samples_per_step,
        'train_dataloader.dataset, its samples': num_samples,
    }
    if runner.label_checksum is not None:
        counts['train_dataloader.dataset, checksum of its labels'] = runner.label_checksum
    return counts


def restore_run_state(runner: RunnerLike, content: dict[str, Any], changes: Sequence[SettingChange]) -> None:
    """Restore weights, averages, optimizer, schedules, precision, step and random state from a checkpoint.

    Args:
        runner: whose objects are built, and whose hooks have copied the model.
        content: of the checkpoint, as `collect_run_state` returned it; changed in place.
        changes: settings that count anew from here on.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: the content does not fit the config of this run.
    """
    _restore_weights(runner, content)
    step = content['meta']['step']
    _restore_optimizer(runner, content, step, changes)
    # 'auto' is not measured anew, since another choice would round otherwise than the steps before
    if not any(change.key == 'precision' for change in changes):
        runner.strategy.precision.restore_choice(content['meta'].get('precision'))
    runner.train_loop.resume_from(step, content['meta'].get('evaluated_step', step))
    # last, since building and loading may draw random numbers
    _restore_random_states(runner, content['random_state'])


def _restore_weights(runner: RunnerLike, content: dict[str, Any]) -> None:
    """Load the trained weights, and let hooks restore their averages from the same content."""
    has_average = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if not has_average:
        # without an average, the run continues with the weights that were trained
        content['state_dict'] = select_weights(content, 'raw')
        content.pop('ema_state_dict', None)
    # mmengine's averages are a wrapper whose model is called `module`
    for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
        if key in content:
            content[key] = runner.strategy.distribute_weights(content[key], prefix)
    # EMAHook exchanges the two: checkpoints hold the average as `state_dict`, and training continues with the raw
    # weights
    runner.call_hook('after_load_checkpoint', checkpoint=content)
    runner.bare_model.load_state_dict(content['state_dict'])


def _restore_optimizer(
    runner: RunnerLike, content: Mapping[str, Any], step: int, changes: Sequence[SettingChange]
) -> None:
    """Load the states of the optimizer and of the schedules, or let new settings of them count from `step` on."""
    schedules = runner.param_schedulers or []
    state = runner.strategy.distribute_optimizer_state(content['optimizer'], runner.optim_wrapper.optimizer)
    if changes:
        resume_state.restore_changed_optimizer(runner.optim_wrapper, state, changes)
        resume_state.fast_forward_schedules(schedules, step, runner.train_loop.steps_per_epoch)
        return
    runner.optim_wrapper.load_state_dict(state)
    for schedule, schedule_state in zip(schedules, content['param_schedulers'], strict=True):
        schedule.load_state_dict(schedule_state)


def _restore_random_states(runner: RunnerLike, states: Any) -> None:
    """Restore the random state of this process, unless the number of processes has changed, which is logged."""
    # checkpoints from before several processes could train hold one state
    states = [states] if isinstance(states, Mapping) else states
    if len(states) == runner.world_size:
        resume_state.set_random_state(states[runner.rank])
    else:
        message = 'the run had %d processes and has %d now: random numbers of the network (dropout) differ from here'
        _LOGGER.info(message, len(states), runner.world_size)
