"""What a run needs before it starts: its config, its device and its folder."""

from __future__ import annotations

__all__ = ['get_default_work_dir']

import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from poseplug.config.build import require_setting
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.engine import distributed
from poseplug.engine.runner_types import ConfigLike
from poseplug.files.checkpoint_folder import find_latest_checkpoint, list_checkpoints
from poseplug.models.devices import parse_device

_LOGGER = logging.getLogger('poseplug')


def open_run_config(config: str | Path | ConfigLike, options: Mapping[str, Any] | None, training: bool) -> ConfigLike:
    """The config of a file with `options`, or a loaded config as it is."""
    if isinstance(config, (str, Path)):
        cfg: ConfigLike = load_config(config, options, training)
        return cfg
    if options:
        raise ConfigError('options change the config of a file; pass them to load_config, or the file instead')
    return config


def choose_run_device(device: str | torch.device | None) -> torch.device:
    """The device of a run; each of several processes has the accelerator of its own rank."""
    chosen = parse_device(device)
    if distributed.get_world_size() > 1 and chosen.index is not None:
        raise ConfigError(f'{chosen} is one accelerator, but the run has several processes; name {chosen.type}')
    if chosen.type == 'cuda' and chosen.index is not None:
        # NCCL, the random state of checkpoints and the peak memory of the curve are those of the current device
        torch.cuda.set_device(chosen)
    return chosen


def get_default_work_dir(config: str | Path, suffix: str = '') -> Path:
    """Return `work_dirs/NAME` for a config file of that name, below the current folder or `$POSEPLUG_WORK`.

    Args:
        config: the path of the config file.
        suffix: is appended to the name.
    """
    return Path(os.environ.get('POSEPLUG_WORK', 'work_dirs')) / f'{Path(config).stem}{suffix}'


def warn_of_unused_evaluation(cfg: ConfigLike) -> None:
    """Log which settings of evaluation have no effect without a `val_dataloader`.

    A config with `val_dataloader=None` says that nothing is evaluated, whatever the files that it builds on set.
    """
    train_cfg = require_setting(cfg, 'train_cfg')
    unused = [f'train_cfg.{key}={train_cfg[key]!r}' for key in ('val_interval', 'val_loss') if train_cfg.get(key)]
    unused += ['val_evaluator'] if cfg.get('val_evaluator') is not None else []
    if unused and 'val_dataloader' not in cfg:
        _LOGGER.warning(
            'nothing is evaluated during training, and %s has no effect: the config has no val_dataloader; set it, or '
            'set val_dataloader=None if no evaluation is wanted',
            ', '.join(unused),
        )


def has_run_checkpoint(work_dir: Path) -> bool:
    """Whether a folder holds a checkpoint to resume; all processes use the answer of the first."""
    # on network file systems, one process may see a checkpoint before another does
    return distributed.all_gather_objects(bool(list_checkpoints(work_dir)))[0]


def prepare_work_dir(work_dir: Path, resume: bool) -> None:
    """Create the folder of a run, or check that it holds a run to resume. A run is never overwritten."""
    if resume:
        # only its errors count here: there is no folder, or no valid checkpoint
        find_latest_checkpoint(work_dir)
        return
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=work_dir).close()  # a folder without write permission is an error now, not later
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{work_dir}: {reason}; name another --work-dir') from error
    checkpoints = sorted(f.name for f in work_dir.glob('*.pth'))
    if checkpoints:
        raise ConfigError(
            f'{work_dir} holds a run already ({checkpoints[-1]}); continue it with --resume, name another --work-dir, '
            f'or remove that folder'
        )
