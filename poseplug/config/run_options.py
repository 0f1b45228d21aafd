"""Common options of a run as changes of its config: length, batch size, learning rate, workers.

A changed length takes everything with it that the config states for the old one: schedules, averages, intervals,
phases.
"""

from __future__ import annotations

__all__ = ['TIME_SETTINGS', 'change_run_length', 'change_run_options', 'set_loader_options']

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from poseplug.config.build import require_setting
from poseplug.core.errors import ConfigError

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# The settings of mmengine's schedules that count steps or epochs.
TIME_SETTINGS = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'total_steps', 'periods')
_MAX_WARM_UP = 0.1  # fraction of a run whose length in steps is not known here
_MAX_AVERAGE = 0.5  # fraction of the run that an average covers


def change_run_options(
    cfg: Any,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    num_workers: int | None = None,
    precision: str | None = None,
) -> Any:
    """Change the common settings of a training.

    Args:
        cfg: the loaded config, which is changed.
        epochs: the length of the run; everything that is stated for the old length follows.
        batch_size: number of training samples of a batch.
        lr: the learning rate of the optimizer; `auto_scale_lr` is switched off, since the rate is meant as given.
        num_workers: number of processes that load samples, of every loader.
        precision: in which the network computes: 'fp32', 'bf16' or 'auto'.

    Returns:
        The config.

    Raises:
        ConfigError: the config has no such setting, or a number is out of range.

    Example:
        >>> from poseplug.config.load import load_config
        >>> cfg = change_run_options(load_config('hrnet_w32_coco_256x192'), epochs=21, lr=5e-4)
        >>> cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval, cfg.optim_wrapper.optimizer.lr
        (21, 0.047619047619047616, 0.0005)
    """
    if epochs is not None:
        change_run_length(cfg, epochs)
    if batch_size is not None:
        set_loader_options(cfg, ('train_dataloader',), batch_size=batch_size)
    if num_workers is not None:
        set_loader_options(cfg, _LOADERS, num_workers=num_workers)
    if precision is not None:
        cfg['precision'] = precision
    if lr is not None:
        if not lr > 0:
            raise ConfigError(f'the learning rate is above 0; got {lr}')
        require_setting(require_setting(cfg, 'optim_wrapper'), 'optimizer')['lr'] = lr
        cfg['auto_scale_lr'] = None
    return cfg


def set_loader_options(
    cfg: Any, loaders: Sequence[str] = _LOADERS, batch_size: int | None = None, num_workers: int | None = None
) -> None:
    """Set the batch size or the number of workers of loaders, of those that the config has.

    Args:
        cfg: the loaded config, which is changed.
        loaders: keys of the config.
        batch_size: number of samples of a batch; None leaves it as it is.
        num_workers: number of processes that load samples; None leaves it as it is.
    """
    options = dict(batch_size=batch_size, num_workers=num_workers)
    for loader in [cfg[key] for key in loaders if cfg.get(key) is not None]:
        loader.update({key: value for key, value in options.items() if value is not None})


def change_run_length(cfg: Any, epochs: int | None = None, steps: int | None = None) -> None:
    """Change the length of a run, and with it schedules, averages, intervals, training phases and pipeline switches.

    What a config states in the unit of the old length becomes a fraction of the run. A warm-up in steps, whose fraction
    of a run in epochs is not known before the data are read, takes at most a tenth of the run.

    Args:
        cfg: the loaded config, which is changed.
        epochs: the new length, at least 1.
        steps: the new length in steps instead, at least 1.

    Raises:
        ConfigError: the config does not say how long the run is, or the new length is below 1.
    """
    new_length = epochs if steps is None else steps
    if new_length is None or new_length < 1:
        raise ConfigError(f'a run has at least one epoch or step; got {new_length}')
    train_cfg = require_setting(cfg, 'train_cfg')
    counts_epochs = train_cfg.get('max_epochs') is not None
    old_length = train_cfg.get('max_epochs') or train_cfg.get('max_steps')
    if not isinstance(old_length, int):
        raise ConfigError(f'train_cfg needs either max_steps or max_epochs; got {dict(train_cfg)}')
    train_cfg['max_epochs'], train_cfg['max_steps'] = (epochs, None) if steps is None else (None, steps)
    _scale_setting(train_cfg, 'val_interval', old_length)
    _scale_setting((cfg.get('default_hooks') or {}).get('checkpoint') or {}, 'interval', old_length)
    schedules = cfg.get('param_scheduler') or []
    for schedule in [schedules] if isinstance(schedules, MutableMapping) else schedules:
        _scale_schedule(schedule, old_length, counts_epochs)
    parts = [*_iterate_parts(cfg.get('custom_hooks')), *_iterate_parts(cfg.get('train_dataloader'))]
    if counts_epochs:
        if isinstance(cfg.get('freeze'), MutableMapping):
            _scale_setting(cfg['freeze'], 'epochs', old_length)
        for part in parts:
            _scale_epochs(part, old_length)
        if steps is not None:
            return  # the old length in steps is not known before the data are read
    # Only within one unit: how many steps an epoch has is known when the data are read.
    factor = new_length / old_length if counts_epochs == (steps is None) else None
    for average in (part for part in parts if part['type'] == 'EMAHook'):
        _scale_average(average, old_length, factor)


def _scale_setting(settings: MutableMapping[str, Any], key: str, old_length: int) -> None:
    """Turn whole numbers, in the unit of the old length, into fractions of the run; 0 stays."""
    value = settings.get(key)
    if isinstance(value, list | tuple):
        settings[key] = [_to_fraction(item, old_length) for item in value]
    elif value is not None:
        settings[key] = _to_fraction(value, old_length)


def _to_fraction(value: Any, old_length: int) -> Any:
    # A float is a fraction already, and a bool is no count.
    return min(1.0, value / old_length) if type(value) is int and value > 0 else value


def _scale_schedule(schedule: MutableMapping[str, Any], old_length: int, counts_epochs: bool) -> None:
    """Let a schedule follow the run."""
    # mmengine's schedules count epochs unless they say otherwise.
    if schedule.get('by_epoch', True) == counts_epochs:
        for key in TIME_SETTINGS:
            _scale_setting(schedule, key, old_length)
    elif not schedule.get('begin') and type(schedule.get('end')) is int:
        schedule.setdefault('max_fraction', _MAX_WARM_UP)


def _iterate_parts(value: Any) -> Iterator[MutableMapping[str, Any]]:
    """The dicts with a type in a setting, at any depth."""
    if isinstance(value, MutableMapping):
        if 'type' in value:
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else []:
        yield from _iterate_parts(item)


def _scale_epochs(part: MutableMapping[str, Any], old_length: int) -> None:
    """Turn the epochs that a hook or a transform counts into fractions of the run, whose length was `old_length`."""
    if part['type'] == 'PhaseHook':
        # keys of options from the command line are text
        starts = {key: int(key) if str(key).isdecimal() else key for key in part['phases']}
        part['phases'] = {str(_to_fraction(starts[key], old_length)): phase for key, phase in part['phases'].items()}
    elif part['type'] == 'PipelineSwitch':
        _scale_setting(part, 'switch_epoch', old_length)


def _scale_average(average: MutableMapping[str, Any], old_length: int, factor: float | None) -> None:
    """Let an average of weights follow the run.

    Args:
        average: its settings, which are changed.
        old_length: of the run, in steps or epochs.
        factor: new over old length; None if the old one was in steps and the new one is in epochs.
    """
    if average.get('begin_epoch') and factor is not None:
        average['begin_epoch'] = int(average['begin_epoch'] * factor)
    if not average.get('momentum'):
        return
    # A momentum m averages over about 1 / m steps, which are to remain the same fraction of the run.
    if factor is None:
        average['run_fraction'] = min(_MAX_AVERAGE, 1 / (average.pop('momentum') * old_length))
    else:
        average['momentum'] = min(_MAX_AVERAGE, average['momentum'] / factor)
