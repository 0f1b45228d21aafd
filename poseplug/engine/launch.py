"""From a config to a run: training and testing."""

from __future__ import annotations

__all__ = ['TrainingResult', 'run_training', 'test', 'train']

import copy
import functools
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from poseplug.config.build import build_evaluator, build_model, require_setting
from poseplug.config.matching import match_weights
from poseplug.config.settings import merge_default_hooks
from poseplug.core.errors import ConfigError
from poseplug.core.progress import track_progress
from poseplug.engine import distributed
from poseplug.engine.dataloaders import build_dataloader
from poseplug.engine.evaluate import evaluate
from poseplug.engine.hooks.early_stop import EarlyStopHook
from poseplug.engine.hooks.freezing import FreezeHook
from poseplug.engine.loggers import get_visualizer_spec
from poseplug.engine.overfit import build_overfit_config
from poseplug.engine.parameter_stages import resolve_freeze
from poseplug.engine.run_setup import (
    choose_run_device,
    get_default_work_dir,
    has_run_checkpoint,
    open_run_config,
    prepare_work_dir,
    warn_of_unused_evaluation,
)
from poseplug.engine.runner import Runner
from poseplug.engine.runner_types import ConfigLike
from poseplug.engine.strategy import SingleProcessStrategy
from poseplug.evaluation.results import EvaluationResult, list_possible_scores
from poseplug.files.checkpoint_folder import BEST_CHECKPOINT_FILE, list_checkpoints
from poseplug.files.weights import WeightKind, load_weights
from poseplug.registry.wiring import find_argument_errors

_LOGGER = logging.getLogger('poseplug')
_RUN_NUMBERS = itertools.count(1)  # mmengine keeps one logger per run name, so every run needs its own name


# --- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training run: its checkpoints and last scores.

    Attributes:
        work_dir: the folder of the run.
        steps: the number of training steps, those before a resume included.
        checkpoint: the newest checkpoint.
        best_checkpoint: the checkpoint of the best score, if the config saves one (`SaveHook.save_best`).
        scores: of the last evaluation, by name; empty without one.
        rank: the index of this process; of several processes the first, 0, writes the files.

    Example:
        >>> result = TrainingResult(Path('run'), steps=2, checkpoint=Path('run/step_0000002.pth'))
        >>> result.checkpoint.name, dict(result.scores)
        ('step_0000002.pth', {})
    """

    work_dir: Path
    steps: int
    checkpoint: Path
    best_checkpoint: Path | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    rank: int = 0


def train(
    config: str | Path | ConfigLike,
    work_dir: str | Path | None = None,
    resume: bool | Literal['auto'] = False,
    init: str | None = None,
    options: Mapping[str, Any] | None = None,
    overfit: int | None = None,
    resume_with: Sequence[str] = (),
    map_keypoints: bool = False,
    device: str | torch.device | None = None,
) -> TrainingResult:
    """Train a model. Under torchrun each of its processes calls this.

    Args:
        config: a config file, or a config as `load_config` returns it.
        work_dir: the folder of the run: checkpoints, logs and the training curve. It must be new unless `resume`. By
            default `work_dirs/CONFIG`, with `overfit` `work_dirs/CONFIG_overfit`.
        resume: True continues the run in `work_dir` exactly; 'auto' does so if there is one and otherwise starts one.
        init: a file with initial weights, or `URL#sha256=DIGITS`, instead of the config's `init`.
        options: changes of a config file, by dotted key, such as `{'train_cfg.max_steps': 100}`.
        overfit: the number of samples to train and evaluate on, without augmentation, as a check of the config. None
            trains on all samples.
        resume_with: settings by dotted key, such as 'param_scheduler', whose values may differ from the resumed
            checkpoint's and count from there on. All others must be the same.
        map_keypoints: whether channels of `init` are matched by keypoint name, if its keypoints have another order.
        device: where the network is trained, such as 'cpu' or 'cuda:1'; None for a GPU if there is one.

    Returns:
        Where the checkpoints are, and the last scores.

    Raises:
        ConfigError: a setting is wrong, `work_dir` holds a run already, or a setting of a resumed run has changed.
        CheckpointError: there is no valid checkpoint to resume, or the weights do not fit the model.
        NonFiniteLossError: a loss or a gradient is not finite.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from poseplug.data.synthetic import write_lsp
        >>> folder = Path(tempfile.mkdtemp())
        >>> data_root = str(write_lsp(folder / 'lsp', num_images=4, num_train=2))
        >>> result = train('cpm_synthetic', folder / 'run', options={
        ...     'train_cfg.max_steps': 1,
        ...     'train_dataloader.batch_size': 2,
        ...     'train_dataloader.num_workers': 0,
        ...     'train_dataloader.dataset.sources.0.data_root': data_root,
        ... })
        >>> result.steps, result.checkpoint.name
        (1, 'step_0000001.pth')
    """
    cfg = open_run_config(config, options, training=True)
    if work_dir is None:
        work_dir = get_default_work_dir(cfg.filename or 'config.py', '' if overfit is None else '_overfit')
    if overfit is not None:
        cfg = build_overfit_config(cfg, overfit)
    # a config from Python may have no file, so that its run has the name of a file `config.py`
    runner = run_training(cfg, Path(work_dir), resume, init, resume_with, map_keypoints, device)
    return _create_training_result(runner)


def _create_training_result(runner: Runner) -> TrainingResult:
    folder = Path(runner.work_dir)
    best = folder / BEST_CHECKPOINT_FILE
    evaluation = getattr(runner.val_loop, 'result', None)
    return TrainingResult(
        work_dir=folder,
        steps=runner.iter,
        checkpoint=list_checkpoints(folder)[0],
        best_checkpoint=best if best.is_file() else None,
        scores={} if evaluation is None else evaluation.values,
        rank=runner.rank,
    )


def run_training(
    cfg: ConfigLike,
    work_dir: Path,
    resume: bool | Literal['auto'] = False,
    init: str | None = None,
    resume_with: Sequence[str] = (),
    map_keypoints: bool = False,
    device: str | torch.device | None = None,
) -> Runner:
    """Train a config, and return the runner after its last step; arguments and errors are those of `train`."""
    with distributed.process_group_context():
        runner = _run_training(cfg, work_dir, resume, init, resume_with, map_keypoints, device)
        # The first process alone writes checkpoints, and the others may read its folder as soon as this returns.
        distributed.wait_for_all_ranks()
        return runner


def _run_training(
    cfg: ConfigLike,
    work_dir: Path,
    resume: bool | Literal['auto'],
    init: str | None,
    resume_with: Sequence[str],
    map_keypoints: bool,
    device: str | torch.device | None,
) -> Runner:
    """Train in this process, alone or as one of several."""
    if resume_with and not resume:
        raise ConfigError('--resume-with says what changes in a run that is resumed; add --resume or --auto-resume')
    is_resumed = has_run_checkpoint(work_dir) if resume == 'auto' else resume
    distributed.run_on_main_process(lambda: prepare_work_dir(work_dir, is_resumed))
    seed = int(cfg.get('seed', 0))
    # before the model is built, so that its random weights follow from the seed, too, and are equal in all processes
    torch.manual_seed(seed)
    torch_device = choose_run_device(device)
    model = build_model(cfg).to(torch_device)
    # what needs only the model is checked before the data sets are read, which takes minutes for large ones
    _check_evaluators(cfg, model)
    freeze = resolve_freeze(cfg.get('freeze'), model)
    loops: dict[str, Any] = dict(
        train_dataloader=build_dataloader(cfg, 'train_dataloader', seed),
        train_cfg={'type': 'TrainLoop', **require_setting(cfg, 'train_cfg')},
        **_build_val_settings(cfg, model, seed),
    )
    hooks: dict[str, Any] = dict(
        default_hooks=merge_default_hooks(cfg.get('default_hooks') or {}),
        custom_hooks=_list_custom_hooks(cfg, freeze),
        visualizer=get_visualizer_spec(cfg),
    )
    weights: dict[str, Any] = dict(
        resume=is_resumed,
        resume_with=resume_with,
        init=init or cfg.get('init'),
        map_keypoints=map_keypoints,
        # a dict freezes the first epochs alone, which is the work of a hook
        freeze=() if isinstance(freeze, Mapping) else freeze or (),
        compile=cfg.get('compile'),
        precision=cfg.get('precision'),
        distributed_cfg=require_setting(cfg, 'train_cfg').get('distributed'),
    )
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        # dropout has to differ between the processes, whose samples differ, too
        randomness=dict(seed=seed, diff_rank_seed=True),
        # names are looked up in poseplug's registries first, and then in mmengine's
        default_scope='poseplug',
        experiment_name=f'run-{next(_RUN_NUMBERS)}',
        cfg=cfg,
        **{**loops, **_build_optimization_settings(cfg), **hooks, **weights},
    )
    _log_start(runner, work_dir, torch_device)
    runner.train()
    return runner


def _build_optimization_settings(cfg: ConfigLike) -> dict[str, Any]:
    """The runner's settings for the steps of the optimizer and its schedules."""
    return dict(
        # a copy, since mmengine adds a `type` in place and `cfg` is saved with every checkpoint
        optim_wrapper=copy.deepcopy(require_setting(cfg, 'optim_wrapper')),
        param_scheduler=copy.deepcopy(cfg.get('param_scheduler')),
        auto_scale_lr=cfg.get('auto_scale_lr'),
    )


def _log_start(runner: Runner, work_dir: Path, device: torch.device) -> None:
    """Log the devices, the number of samples and the number of steps of a run."""
    name = f'{runner.world_size} x {device}' if runner.world_size > 1 else str(device)
    num_samples = len(runner.train_loop.dataloader.dataset)
    _LOGGER.info('training on %s: %d samples, %d steps, in %s', name, num_samples, runner.max_iters, work_dir)


def _list_custom_hooks(cfg: ConfigLike, freeze: Any) -> list[Any]:
    """The config's `custom_hooks`, and those of its settings `early_stop` and `freeze` of the first epochs."""
    hooks = copy.deepcopy(list(cfg.get('custom_hooks') or []))
    first_epochs = freeze if isinstance(freeze, Mapping) else None
    settings_by_key = (('early_stop', EarlyStopHook, cfg.get('early_stop')), ('freeze', FreezeHook, first_epochs))
    for key, hook, settings in settings_by_key:
        if settings:
            errors = find_argument_errors(hook, key, settings, ())
            if errors:
                raise ConfigError('\n'.join(errors.values()))
            hooks.append({'type': hook.__name__, **settings})
    return hooks


def _build_val_settings(cfg: ConfigLike, model: Any, seed: int) -> dict[str, Any]:
    """The runner's settings for evaluation during training; empty for a config without a `val_dataloader`."""
    if cfg.get('val_dataloader') is None:
        warn_of_unused_evaluation(cfg)
        return {}
    loader = build_dataloader(cfg, 'val_dataloader', seed)
    # a function, since every evaluation needs new metrics, and with all stages one set for each stage
    evaluator = functools.partial(build_evaluator, cfg, 'val', model.skeleton)
    return dict(val_dataloader=loader, val_cfg=dict(type='EvalLoop'), val_evaluator=evaluator)


def _check_evaluators(cfg: ConfigLike, model: Any) -> None:
    """Check what metrics need of the skeleton before anything is trained: an error in training, a warning for tests."""
    if cfg.get('val_dataloader') is not None:
        build_evaluator(cfg, 'val', model.skeleton)
    if cfg.get('test_dataloader') is not None:
        try:
            build_evaluator(cfg, 'test', model.skeleton)
        except ConfigError as error:
            _LOGGER.warning('the result cannot be tested with this config: %s', error)


# --- testing ----------------------------------------------------------------------------------------------------------


def test(
    config: str | Path | ConfigLike,
    weights: str | Path,
    options: Mapping[str, Any] | None = None,  # noqa: PT028 - no test of pytest
    weight_kind: WeightKind | None = None,  # noqa: PT028
    map_keypoints: bool = False,  # noqa: PT028
    device: str | torch.device | None = None,  # noqa: PT028
    compute_dtype: torch.dtype | None = None,  # noqa: PT028
) -> EvaluationResult:
    """Evaluate weights on the config's test set, at every stage of the head.

    Args:
        config: a config file, or a config as `load_config` returns it.
        weights: a file of weights, or a work dir for its newest checkpoint.
        options: changes of a config file, by dotted key.
        weight_kind: 'raw' or 'averaged', where a checkpoint has both; by default the averaged ones.
        map_keypoints: whether the channels of weights are taken by the names of their keypoints, where these differ.
        device: where the network runs, such as 'cpu' or 'cuda:1'; None for a GPU if there is one.
        compute_dtype: type in which the network computes, such as `torch.bfloat16`; None for that of the weights.

    Returns:
        The scores, the predictions, and the reports of the data sources.

    Raises:
        ConfigError: a setting is wrong.
        CheckpointError: the weights are missing, damaged or of another model.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from poseplug.data.synthetic import write_lsp
        >>> import poseplug
        >>> data_root = str(write_lsp(Path(tempfile.mkdtemp()) / 'lsp', num_images=4, num_train=2))
        >>> weights = Path(poseplug.__file__).parent / 'weights/cpm_lsp_lite.safetensors'
        >>> result = test('cpm_lsp_lite', weights, options={
        ...     'test_dataloader.num_workers': 0,
        ...     'test_dataloader.dataset.sources.0.data_root': data_root,
        ... })
        >>> sorted(result.values)[:3]
        ['AUC@0.2', 'PCK@0.1', 'PCK@0.1/ankle']
    """
    torch_device = choose_run_device(device)
    cfg: Any = match_weights(open_run_config(config, options, training=False), weights)
    model: Any = build_model(cfg)
    create_metrics = functools.partial(build_evaluator, cfg, 'test', model.skeleton)
    create_metrics()  # what they need of the skeleton is checked before anything is read
    # before the device and the type: checkpoints hold float32 values for the CPU
    load_weights(model, weights, weight_kind, map_keypoints)
    model.to(torch_device).eval()
    if compute_dtype is not None:
        model.network.set_compute_dtype(compute_dtype)
    strategy = SingleProcessStrategy(model, cfg.get('compile'))
    strategy.compile_network()
    loader = build_dataloader(cfg, 'test_dataloader', int(cfg.get('seed', 0)))
    dataset: Any = loader.dataset
    # metrics that the annotations do not suit are refused here, and not after the last prediction
    list_possible_scores(create_metrics, dataset.records, 'test_evaluator')
    result = evaluate(
        strategy,
        track_progress(loader, 'testing', unit='batch'),
        create_metrics,
        all_stages=True,
        undetected_records=getattr(dataset, 'undetected_records', ()),
    )
    return replace(result, source_reports=[str(report) for report in dataset.reports])
