"""mmengine's runner with its own checkpoints, resume and evaluation replaced (why: docs/explanation/engine.md)."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import mmengine.runner
import torch
from torch import nn

from poseplug.config.saved import format_runnable_config, write_runnable_config
from poseplug.config.settings import AutoScaleSettings, parse_settings
from poseplug.core.errors import CheckpointError
from poseplug.core.version import __version__
from poseplug.engine import freeze as freezing
from poseplug.engine import optim, schedules
from poseplug.engine.compiling import CompileSpec
from poseplug.engine.distributed_strategies import build_strategy, parse_distributed_cfg
from poseplug.engine.resume_settings import check_resume_settings, compute_label_checksum
from poseplug.engine.run_length import find_run_length_problems
from poseplug.engine.run_state import collect_run_state, count_run, restore_run_state
from poseplug.engine.runner_types import ConfigLike
from poseplug.engine.schedule_lengths import check_schedule_numbers, resolve_schedule_lengths
from poseplug.engine.setting_errors import (
    check_hook_name,
    check_single_average,
    name_setting_errors,
    warn_of_zero_rates,
)
from poseplug.engine.strategy import SingleProcessStrategy
from poseplug.engine.training_precision import TrainingPrecision
from poseplug.engine.weight_init import init_weights
from poseplug.files.checkpoint_folder import find_latest_checkpoint
from poseplug.files.skeleton_record import check_keypoints
from poseplug.files.weight_checks import check_state_dict
from poseplug.files.weights import get_skeleton_record, load_checkpoint

_LOGGER = logging.getLogger('poseplug')
# switched off by None, which mmengine's method accepts for these names alone
_MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')


class Runner(mmengine.runner.Runner):
    """Runs training and evaluation.

    Args:
        args: those of mmengine's runner.
        init: initial weights: a file, or settings as `poseplug.engine.weight_init.init_weights` describes them.
        freeze: patterns of the parameters that are not trained (`poseplug.engine.freeze.freeze_parameters`).
        compile: whether and how the network is compiled (`poseplug.engine.compiling.compile_network`).
        map_keypoints: whether channels of `init` are taken by the names of their keypoints.
        resume_with: keys of settings that count anew from the resumed checkpoint on.
        precision: in which the network computes (`poseplug.engine.training_precision.TrainingPrecision`).
        distributed_cfg: how several processes train one model (`parse_distributed_cfg` in
            `poseplug.engine.distributed_strategies`).
        settings: those of mmengine's runner; `resume=True` continues the run in `work_dir`.

    Attributes:
        strategy: computes the training steps and predictions.
        accumulative_counts: the number of batches of a step.

    Raises:
        ConfigError: a setting is wrong.
    """

    cfg: ConfigLike
    strategy: SingleProcessStrategy
    # mmengine keeps the configs here until training builds the objects.
    optim_wrapper: Any
    param_schedulers: Any

    def __init__(
        self,
        *args: Any,
        init: str | Mapping[str, Any] | None = None,
        freeze: Sequence[str] = (),
        compile: CompileSpec = None,
        precision: str | None = None,
        distributed_cfg: Mapping[str, Any] | str | None = None,
        resume_with: Sequence[str] = (),
        map_keypoints: bool = False,
        **settings: Any,
    ):
        # before mmengine's `__init__`, which calls `wrap_model`
        self._distributed_cfg = parse_distributed_cfg(distributed_cfg)
        self._init, self._compile, self._freeze = init, compile, freeze
        self._precision = precision
        self._resume_with, self._map_keypoints = tuple(resume_with), map_keypoints
        self.frozen_norms: list[str] = []  # batch norms that keep their statistics
        super().__init__(*args, **settings)
        self.accumulative_counts = optim.get_accumulative_counts(self.optim_wrapper)

    @cached_property
    def config_text(self) -> str:
        """The whole config as Python. It is cached, since formatting it takes as long as a small training step."""
        return format_runnable_config(self.cfg)

    @cached_property
    def label_checksum(self) -> str | None:
        """The checksum of the labels that the run trains on; None of a data set without records, of another package."""
        records = getattr(self.train_loop.dataloader.dataset, 'records', None)
        return compute_label_checksum(records) if isinstance(records, Sequence) else None

    def dump_config(self) -> None:
        """Do nothing: `train` writes the config once it is known that the run continues its checkpoint.

        mmengine writes it here, so that a resume that is refused would leave the folder with another run's config.
        """

    def register_default_hooks(self, hooks: Mapping[str, Any] | None = None) -> None:
        """Register the hooks that are not switched off; mmengine's method accepts that of its own hooks alone."""
        listed = {name: hook for name, hook in (hooks or {}).items() if hook is not None or name in _MMENGINE_HOOKS}
        super().register_default_hooks(listed)

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        """Register a hook; an error of mmengine's own hooks names the hook."""
        name = str(hook.get('type') if isinstance(hook, Mapping) else type(hook).__name__)
        check_hook_name(name)
        with name_setting_errors(f'hook {name}'):
            super().register_hook(hook, priority)
        check_single_average(self.hooks)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Set up processes and their ranks as mmengine does, also where there is no module `resource`."""
        try:
            super().setup_env(env_cfg)
        except ModuleNotFoundError as error:  # the last thing that mmengine sets is the limit of open files
            if error.name != 'resource':
                raise

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        """Log the machine and the versions. mmengine's own method also starts compilers to ask for their versions."""
        versions = f'poseplug {__version__}, torch {torch.__version__}, Python {platform.python_version()}'
        self.logger.info('%s, %s, seed %s\n%s', versions, platform.platform(), self.seed, self.config_text)

    @property
    def bare_model(self) -> Any:
        """The estimator. No strategy wraps it."""
        return self.model

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues another one."""
        return bool(self._resume)

    def build_logger(self, *args: Any, **settings: Any) -> Any:
        """Build mmengine's logger, whose lines go to the file alone; those of poseplug go to the screen, too."""
        logger = super().build_logger(*args, **settings)
        _LOGGER.setLevel(logging.INFO if self.rank == 0 else logging.WARNING)
        # the file of an earlier run of this process would get the lines of this one
        _LOGGER.handlers = [h for h in _LOGGER.handlers if not isinstance(h, logging.FileHandler)]
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                _LOGGER.addHandler(handler)
            else:
                handler.setLevel(logging.ERROR)
        return logger

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        """Freeze parameters and build the strategy, instead of mmengine's wrappers."""
        if self._freeze:
            self.frozen_norms = freezing.freeze_parameters(model, self._freeze)
        estimator: Any = model
        self.strategy = build_strategy(estimator, self._distributed_cfg, self._compile)
        self.strategy.precision = TrainingPrecision(self._precision, estimator.device.type)
        # before mmengine builds the optimizer, since sharding replaces parameters
        self.strategy.prepare_model()
        return model

    def load_or_resume(self) -> None:
        """Resume the newest checkpoint of the work dir, or load initial weights, if either is asked for."""
        if self._resume:
            self.resume(str(find_latest_checkpoint(Path(self.work_dir))))
        elif self._init:
            init_weights(self.bare_model, self._init, self._map_keypoints)
            # averages of weights are copied before the weights are loaded, and take them over by this hook
            self.call_hook('after_load_checkpoint', checkpoint={'state_dict': self.bare_model.state_dict()})

    def train(self) -> nn.Module:
        """Build what training needs, load weights, and run the loop. Hooks close their files after an error, too."""
        try:
            # The order counts: 1. build what the checkpoint restores, 2. let hooks copy the model, 3. load weights, 4.
            # wrap and compile.
            optim.check_default_paramwise_cfg(self.bare_model, self.optim_wrapper)
            optim.check_wrapper_device(self.optim_wrapper)
            optim.check_wrapper_precision(self.optim_wrapper, self._precision)
            self.optim_wrapper = self._build_checked_optimizer(self.optim_wrapper)
            # before the schedules, which take the optimizer's rates as their base values
            self.scale_lr(self.optim_wrapper, self.auto_scale_lr)
            if self.param_schedulers is not None:
                self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
                schedules.check_plateau_schedules(self.param_schedulers, self.val_loop)
            self._report_run_length()
            self.call_hook('before_run')
            self._init_model_weights()
            self.load_or_resume()
            if self.rank == 0:
                # after the resume was accepted, see `dump_config`
                write_runnable_config(self.cfg, Path(self.work_dir))
            self.strategy.prepare_training(self.optim_wrapper)
            return self.train_loop.run()
        finally:
            self.call_hook('after_run')

    def _build_checked_optimizer(self, spec: Any) -> Any:
        """Build the optimizer with its wrapper; an error names the setting, and a rate of 0 is reported."""
        settings = spec.get('optimizer') if isinstance(spec, Mapping) else None
        with name_setting_errors('optim_wrapper' if settings is None else f'optim_wrapper.optimizer={dict(settings)}'):
            wrapper = self.build_optim_wrapper(spec)
        warn_of_zero_rates(wrapper.param_groups)
        return wrapper

    def _report_run_length(self) -> None:
        """Log a warning if schedules or intervals reach beyond the end of the run."""
        loop = self.train_loop
        val_interval = 0 if self._val_dataloader is None else loop.val_interval
        problems = find_run_length_problems(
            self.param_schedulers or [], loop.max_iters, loop.steps_per_epoch, val_interval
        )
        # data sets of other packages may lack the method
        find_problems = getattr(loop.dataloader.dataset, 'find_run_problems', None)
        problems += find_problems(loop.max_iters / loop.steps_per_epoch) if find_problems else []
        if problems:
            _LOGGER.warning('the run has %d steps: %s', loop.max_iters, '; '.join(problems))

    def set_train_mode(self) -> None:
        """Set the model to training mode, except frozen batch norms."""
        freezing.set_train_mode(self.bare_model, self.frozen_norms)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: Mapping[str, Any] | None = None) -> None:
        """Scale the learning rates linearly to the number of samples per step.

        Args:
            optim_wrapper: holds the optimizer.
            auto_scale_lr: dict(base_batch_size=N), where N is the number of samples per step that the config's learning
                rates are stated for; None keeps the learning rates.

        Raises:
            ConfigError: `auto_scale_lr` is wrong.
        """
        if not auto_scale_lr:
            return
        base_batch_size = parse_settings(AutoScaleSettings, 'auto_scale_lr', auto_scale_lr).base_batch_size
        num_samples = self.train_loop.samples_per_step
        scale = num_samples / base_batch_size
        # the linear rule of Goyal et al. 2017 (arXiv:1706.02677), for every optimizer, as mmengine applies it
        for group in optim_wrapper.param_groups:
            group['lr'] *= scale
        max_lr = max(group['lr'] for group in optim_wrapper.optimizer.param_groups)
        batch_size = self.train_loop.batch_sampler.batch_size
        factors = f'batch {batch_size} x {self.accumulative_counts} accumulated x {self.world_size} processes'
        message = 'learning rates x %g: %d samples a step (%s), stated for %d; the largest is now %g'
        _LOGGER.info(message, scale, num_samples, factors, base_batch_size, max_lr)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build mmengine's schedules, with this run's number of steps, and of steps per epoch."""
        loop = self.train_loop
        listed = scheduler if isinstance(scheduler, Sequence) else [scheduler]
        for index, spec in enumerate(listed):
            check_schedule_numbers(spec, f'param_scheduler.{index}')
        specs = [
            resolve_schedule_lengths(spec, loop.max_iters, loop.steps_per_epoch, f'param_scheduler.{index}')
            for index, spec in enumerate(listed)
        ]
        for spec in specs:
            if spec.get('convert_to_iter_based'):
                # mmengine would take the number of batches of an epoch; with accumulation a step has several
                spec.setdefault('epoch_length', self.train_loop.steps_per_epoch)
        with name_setting_errors('param_scheduler'):
            return super().build_param_scheduler(specs)

    def resume(self, filename: str, *args: Any, **settings: Any) -> None:
        """Restore weights, optimizer, schedules, averages, random state and step from a checkpoint.

        Args:
            filename: the checkpoint. Its config is compared with this run's, and not executed.
            args, settings: of mmengine's method; they are ignored.

        Raises:
            CheckpointError: the file is damaged, holds weights only, or does not fit the config.
            ConfigError: a setting that decides the training differs, and is none of `resume_with`.
        """
        content = load_checkpoint(filename)
        if 'optimizer' not in content:
            raise CheckpointError(f'{filename} holds weights only; use --init to start from them')
        # from the clearest message to the least clear one: keypoints, shapes of weights, settings
        check_keypoints(get_skeleton_record(content), self.bare_model.skeleton, filename)
        check_state_dict(self.bare_model, content['state_dict'], filename)
        changes = check_resume_settings(content['meta'], self.config_text, count_run(self), self._resume_with, filename)
        try:
            restore_run_state(self, content, changes)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f'{filename} does not fit this config ({error}); resume with the config of the run, in {self.work_dir}'
            ) from error
        _LOGGER.info('resumed %s at step %s of %s', filename, self.iter, self.max_iters)
        for change in changes:
            _LOGGER.info('from here on counts %s', change)
        if self.iter >= self.max_iters:
            _LOGGER.warning('the run ends at step %s, so that nothing is left to train', self.max_iters)

    def collect_checkpoint(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, with the entries that hooks add. All processes must call this."""
        return collect_run_state(self)
